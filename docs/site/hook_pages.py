"""Writes what the pages of docs/hooks/ say of each hook and its offer; the examples there are written by hand.

    python docs/site/hook_pages.py

The tests tell when it is to be called: when a hook or an offer says something else than its page.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import docstrings

from mox_core.plugins import hookspecs, offers

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = Path(__file__).parents[1] / "hooks"
END = "\n<!-- The end of what docs/site/hook_pages.py writes. -->"


def main() -> None:
    """Write all pages anew."""
    for hook in hookspecs.OFFERS:
        path = PAGES / f"{hook}.md"
        path.write_text(page_of(hook, path.read_text("utf-8") if path.exists() else END), "utf-8")


def page_of(hook: str, old: str) -> str:
    """Return the page of a hook: what the code says of it, and behind that what the old page had there."""
    by_hand = old.partition(END)[2]
    return "\n".join([*_generated(hook), END]) + by_hand


def _generated(hook: str) -> Iterator[str]:
    spec, kinds = getattr(hookspecs, hook), [hookspecs.OFFERS[hook], *_metas(hookspecs.OFFERS[hook])]
    yield f"# {hook}"
    yield ""
    yield docstrings.as_markdown(spec, leave_out="Example")
    yield ""
    yield "<!-- not run: it shows the form; the plugin that it names is not there -->"
    names = sorted(["hookimpl", *(kind.__name__ for kind in kinds)])
    yield f"```python\nfrom mox_core.plugins import {', '.join(names)}\n\n\n{docstrings.example_of(spec)}\n```"
    for kind in kinds:
        yield from _class(kind)


def _class(kind: type) -> Iterator[str]:
    yield ""
    yield f"## {kind.__name__}"
    yield ""
    yield docstrings.text_of(kind)
    yield ""
    yield "| field | type | default | what it is |"
    yield "| --- | --- | --- | --- |"
    said = dict(docstrings.attributes_of(kind))
    if issubclass(kind, offers.Offer):
        said["name"] += f" It must be {kind.name_rule}."
    for field in attrs.fields(kind):
        type_name = getattr(field.type, "__name__", str(field.type))
        default = "required" if field.default is attrs.NOTHING else f"`{field.default!r}`"
        yield f"| `{field.name}` | `{type_name}` | {default} | {said[field.name]} |"


def _metas(offer: type[offers.Offer]) -> list[type]:
    return [field.metadata["type"] for field in attrs.fields(offer) if "type" in field.metadata]


if __name__ == "__main__":
    main()
