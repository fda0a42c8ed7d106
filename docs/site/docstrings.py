"""Docstrings, which are Markdown in Google's form, as Markdown of a page."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import TYPE_CHECKING, Any

import griffe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

LINE = 100
"""How many characters of code a page shows without a bar to move it."""

HEADINGS = {
    griffe.DocstringSectionKind.parameters: "Arguments",
    griffe.DocstringSectionKind.attributes: "Attributes",
    griffe.DocstringSectionKind.returns: "Returns",
    griffe.DocstringSectionKind.raises: "Raises",
}


def sections(described: object) -> list[griffe.DocstringSection]:
    """The parts of an object's docstring."""
    docstring = griffe.Docstring(inspect.getdoc(described) or "", lineno=1)
    return docstring.parse("google", warnings=False, returns_multiple_items=False)


def text_of(described: object) -> str:
    """What a docstring says outside of its sections."""
    return "\n\n".join(each.value for each in sections(described) if each.kind is griffe.DocstringSectionKind.text)


def example_of(described: object) -> str:
    """The code behind `Example:` in a docstring."""
    return next(each.value.contents for each in sections(described) if each.title == "Example")


def attributes_of(kind: type) -> Mapping[str, str]:
    """What the docstrings of a class and its bases say of each attribute."""
    found = {}
    for base in reversed(kind.__mro__):
        for each in sections(base) if base.__module__ != "builtins" else ():
            if each.kind is griffe.DocstringSectionKind.attributes:
                found |= {attribute.name: on_one_line(attribute.description) for attribute in each.value}
    return found


def as_markdown(described: object, *, leave_out: str = "") -> str:
    """A whole docstring, without the section of a title."""
    return "\n\n".join(_section(each) for each in sections(described) if each.title != leave_out)


def signature_of(name: str, described: Any) -> str:
    """How an object is called; only its name where nobody calls it."""
    if not callable(described) or (isinstance(described, type) and issubclass(described, Exception)):
        return name
    # The `__new__` of a class may be there to refuse; what it takes stands in `__init__`.
    of_class = isinstance(described, type)
    parameters = list(inspect.signature(described.__init__ if of_class else described).parameters.values())
    arguments = list(_arguments(parameters[of_class:]))
    line = f"{name}({', '.join(arguments)})"
    if len(line) <= LINE:
        return line
    return "\n".join([f"{name}(", *(f"    {argument}," for argument in arguments), ")"])


def on_one_line(text: str) -> str:
    """A text that may stand in a list or a table."""
    return re.sub(r"\s*\n\s*", " ", text)


def _section(section: griffe.DocstringSection) -> str:
    if section.kind is griffe.DocstringSectionKind.text:
        return re.sub(r"(?m)(?:^(?: {4}.*)?\n)*^ {4}.*$", _fenced, section.value)
    if section.kind is griffe.DocstringSectionKind.admonition:
        return f"**{section.title}**\n\n```python\n{section.value.contents}\n```"
    lines = [f"- {' '.join(filter(None, (_name(each), on_one_line(each.description))))}" for each in section.value]
    return "\n".join([f"**{HEADINGS[section.kind]}**", "", *lines])


def _fenced(code: re.Match[str]) -> str:
    lines = textwrap.dedent(code[0]).strip("\n")
    return f"\n```python\n{lines}\n```"


def _name(each: Any) -> str:
    name = getattr(each, "name", "") or each.annotation
    return f"`{name}`:" if name else ""


def _arguments(parameters: Sequence[inspect.Parameter]) -> Iterator[str]:
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    positional = True
    for parameter in parameters:
        if positional and parameter.kind is parameter.KEYWORD_ONLY:
            yield "*"
        positional = positional and parameter.kind not in {parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL}
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        # A default that is a mark or a function has no text that says something.
        yield f"{stars.get(parameter.kind, '')}{parameter.name}{'=...' if ' at 0x' in default else default}"
