"""What Python 2 and its standard library had, for the modules of a script only."""

from __future__ import annotations

import builtins
import functools
import importlib
import inspect
import operator
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mox_tf1.views import TransparentView, View, constant, module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType


class ArgSpec(NamedTuple):
    """What `inspect.getargspec` returned."""

    args: list[str]
    varargs: str | None
    keywords: str | None
    defaults: tuple[Any, ...] | None


def get_arg_spec(function: Callable[..., Any]) -> ArgSpec:
    """Be `inspect.getargspec`: the arguments of a function without those that are given by name only."""
    full = inspect.getfullargspec(function)
    return ArgSpec(full.args, full.varargs, full.varkw, full.defaults)


def _ord(character: str | bytes | int) -> int:
    """`ord`, which takes the integers that iterating over bytes gives today."""
    return character if isinstance(character, int) else ord(character)


def _compare(left: Any, right: Any) -> int:
    return int(left > right) - int(left < right)


def _reload(module: ModuleType) -> ModuleType:
    """`reload`; a view, as in `reload(sys)`, stays as it is."""
    return module if isinstance(module, View) else importlib.reload(module)


BUILTINS: Final[Mapping[str, Any]] = {
    "basestring": str,
    "cmp": _compare,
    "long": int,
    "ord": _ord,
    "raw_input": builtins.input,
    "reduce": functools.reduce,
    "reload": _reload,
    "unichr": chr,
    "unicode": str,
    "xrange": range,
}
"""Built-in names of Python 2, and of Python 3 as Python 2 had them."""

_RENAMED: Final = {
    "ConfigParser": "configparser",
    "HTMLParser": "html.parser",
    "Queue": "queue",
    "StringIO": "io",
    "__builtin__": "builtins",
    "cPickle": "pickle",
    "cStringIO": "io",
    "commands": "subprocess",
    "copy_reg": "copyreg",
    "urllib2": "urllib.request",
    "urlparse": "urllib.parse",
}
"""Modules of Python 2's library, and the modules that hold their names today."""

_ABSTRACT: Final = (
    "Callable", "Container", "Hashable", "ItemsView", "Iterable", "Iterator", "KeysView", "Mapping", "MutableMapping",
    "MutableSequence", "MutableSet", "Sequence", "Set", "Sized", "ValuesView",
)  # fmt: skip
"""Classes that `collections` held."""
_LOST: Final[Mapping[str, Mapping[str, str]]] = {
    "collections": {name: f"collections.abc:{name}" for name in _ABSTRACT},
    "fractions": {"gcd": "math:gcd"},
    "inspect": {"getargspec": "mox_tf1.python2:get_arg_spec"},
    "itertools": {
        "ifilter": "builtins:filter",
        "ifilterfalse": "itertools:filterfalse",
        "imap": "builtins:map",
        "izip": "builtins:zip",
        "izip_longest": "itertools:zip_longest",
    },
    "os": {"errno": "errno", "getcwdu": "os:getcwd"},
    "string": {
        "letters": "string:ascii_letters",
        "lowercase": "string:ascii_lowercase",
        "maketrans": "builtins:str.maketrans",
        "uppercase": "string:ascii_uppercase",
    },
    "time": {"clock": "time:process_time"},
    "urllib": {
        "quote": "urllib.parse:quote",
        "quote_plus": "urllib.parse:quote_plus",
        "unquote": "urllib.parse:unquote",
        "unquote_plus": "urllib.parse:unquote_plus",
        "urlencode": "urllib.parse:urlencode",
        "urlopen": "urllib.request:urlopen",
        "urlretrieve": "urllib.request:urlretrieve",
    },
}
"""Names that modules of the library have lost by now, and where the same is today."""


def modules() -> Mapping[str, Callable[[], View]]:
    """Return the views of Python's own modules by name."""
    renamed = {old: functools.partial(View, old, behind=module(new)) for old, new in _RENAMED.items()}
    return {**renamed, **{name: functools.partial(_with_lost, name) for name in _LOST}, "sys": _sys}


def _with_lost(name: str) -> View:
    """Return a module of the library with what it has lost; what a script assigns to it is assigned to the module."""
    own = {lost: functools.partial(_found, place) for lost, place in _LOST[name].items()}
    return TransparentView(name, own, behind=module(name), submodules=True)


def _found(place: str) -> Any:
    name, _, path = place.partition(":")
    return operator.attrgetter(path)(importlib.import_module(name)) if path else importlib.import_module(name)


def _ignore(encoding: str) -> None:
    pass


def _sys() -> View:
    own = {"maxint": constant(sys.maxsize), "setdefaultencoding": constant(_ignore)}
    return TransparentView("sys", own, behind=constant(sys))
