"""The version of mox."""

from __future__ import annotations


def version() -> str:
    """Return the version of the installed distribution mox-core."""
    import importlib_metadata  # noqa: PLC0415  (kept out of the import of mox)

    return str(importlib_metadata.version("mox-core"))
