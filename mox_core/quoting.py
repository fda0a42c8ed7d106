"""Names of users where a terminal shows them: a line break in one would forge a line, an escape sequence would act."""

from __future__ import annotations


def shown(name: object) -> str:
    """Return a name or path for a table, or a log line whose form is fixed: as it is if harmless there, else quoted.

    Other messages quote all names (`repr`).
    """
    text = str(name)
    return text if text.isprintable() and text == text.strip() else repr(text)
