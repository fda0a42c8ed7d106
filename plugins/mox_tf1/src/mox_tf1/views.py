"""Views: modules as a script of TensorFlow 1 knows them. They stand in nobody's `sys.modules`."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class View(ModuleType):
    """A module made of names of its own and, behind them, those of a real module.

    What a script assigns to a view stays in the view.

    Args:
        name: the name by which the script imports it.
        own: for each name of its own, a function that is called for the value when it is first asked for.
        behind: returns what is searched for every other name: a module, or another view.
        missing: returns the sentence for a name that is found nowhere.
        submodules: whether modules of the real package are imported when their names are asked for.
    """

    def __init__(
        self,
        name: str,
        own: Mapping[str, Callable[[], Any]] | None = None,
        *,
        behind: Callable[[], Any] | None = None,
        missing: Callable[[str], str] | None = None,
        submodules: bool = False,
    ) -> None:
        super().__init__(name)
        self.__dict__["_view"] = (own or {}, behind, missing, submodules)

    def __getattr__(self, name: str) -> Any:
        own, behind, missing, submodules = self.__dict__["_view"]
        if name == "__all__":
            return [each for each in dir(self) if not each.startswith("_")]
        if name in own:
            value = self.__dict__[name] = own[name]()
            return value
        if behind is not None and name != "__path__":
            real = behind()
            try:
                return getattr(real, name)
            except AttributeError:
                module = f"{real.__name__}.{name}"
                if submodules and not name.startswith("__") and _is_there(module):
                    return importlib.import_module(module)
        reason = missing(name) if missing is not None and not name.startswith("_") else ""
        raise AttributeError(reason or f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=None)

    def __dir__(self) -> Iterable[str]:
        own, behind, _, _ = self.__dict__["_view"]
        added = [name for name in self.__dict__ if not name.startswith("_")]
        return sorted({*own, *added, *(dir(behind()) if behind is not None else ())})


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # what is around it is a module, not a package
        return False


class TransparentView(View):
    """A view whose assignments go to the real module: `sys.stdout = file`."""

    def __setattr__(self, name: str, value: Any) -> None:
        _, behind, _, _ = self.__dict__["_view"]
        setattr(behind(), name, value)


def constant(value: Any) -> Callable[[], Any]:
    """Return a function that returns a value, for `View.own`."""
    return lambda: value


def module(name: str) -> Callable[[], Any]:
    """Return a function that imports a module, for `View`."""
    return lambda: importlib.import_module(name)


def find(root: Any, names: Iterable[str]) -> Any:
    """Return `root.a.b` for the names a and b.

    Raises:
        AttributeError: if there is no such thing.
    """
    for name in names:
        root = getattr(root, name)
    return root
