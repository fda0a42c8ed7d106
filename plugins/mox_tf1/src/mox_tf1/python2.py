"""What Python 2 and its standard library had, for the modules of a script only."""

from __future__ import annotations

import builtins
import functools
import importlib
import sys
from typing import TYPE_CHECKING, Any, Final

from mox_tf1.views import TransparentView, View, constant, module

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType


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


def modules() -> Mapping[str, Callable[[], View]]:
    """Return the views of Python's own modules by name."""
    renamed = {old: functools.partial(View, old, behind=module(new)) for old, new in _RENAMED.items()}
    return {**renamed, "sys": _sys}


def _ignore(encoding: str) -> None:
    pass


def _sys() -> View:
    own = {"maxint": constant(sys.maxsize), "setdefaultencoding": constant(_ignore)}
    return TransparentView("sys", own, behind=constant(sys))
