"""How the modules of a script import.

Python takes the function behind `import` from the `__builtins__` of the importing module. The script, and the modules
whose files lie in its folder, get a dict of built-in names of their own, whose `__import__` gives views of TensorFlow,
MoXing, NumPy and Python's own modules. No other module notices, and `sys.modules` holds what it always holds.
"""

from __future__ import annotations

import builtins
import contextlib
import sys
from functools import cache, partial
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mox_core
from mox_tf1.lost_names import built_in_names
from mox_tf1.moxing import limited, moxing_view
from mox_tf1.numpy1 import numpy_view
from mox_tf1.python2 import BUILTINS, modules
from mox_tf1.sources import compile_module, parse_module
from mox_tf1.tensorflow1 import ScriptGraph, tensorflow_view
from mox_tf1.views import View, find

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import CodeType, ModuleType


class ScriptImports:
    """The imports of a script and the modules beside it.

    Args:
        folder: the script's folder.
        max_steps: the limit of every `max_number_of_steps`; None for none.
    """

    def __init__(self, folder: Path, max_steps: int | None = None) -> None:
        self.graph = ScriptGraph()
        self.patches = contextlib.ExitStack()  # of TensorFlow, as long as the script runs
        limit = partial(limited, self.graph, max_steps)
        self.builtins: dict[str, Any] = {
            **vars(builtins),
            **BUILTINS,
            **built_in_names(),
            "__import__": self._import,
        }
        self.finder = _Finder(folder, self.builtins)
        self._views = {
            **{name: cache(make) for name, make in modules().items()},
            "moxing": cache(partial(moxing_view, limit)),
            "numpy": cache(numpy_view),
            "tensorflow": cache(
                lambda: tensorflow_view(self.graph, limit(mox_core.run, "max_number_of_steps"), self.patches)
            ),
        }

    def find(self, path: str) -> Any:
        """Return what `import path` means in the script; None where Python's own import is to decide.

        Raises:
            ModuleNotFoundError: if the view has no such part.
        """
        root, *rest = path.split(".")
        if root not in self._views or self.finder.has(root):
            return None
        try:
            return find(self._views[root](), rest)
        except AttributeError as error:
            raise ModuleNotFoundError(str(error), name=path) from None

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 (the signature of `__import__`)
        locals: Mapping[str, Any] | None = None,  # noqa: A002 (as above)
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        found = self.find(name) if level == 0 else None
        if found is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        if not fromlist:
            return self.find(name.partition(".")[0])
        for each in fromlist:
            if each != "*":
                try:
                    getattr(found, each)
                except AttributeError as error:  # Python's own message would hide what it says
                    raise ImportError(str(error), name=name) from None
        return found


class _Loader(SourceFileLoader):
    """Runs a module with built-in names that it is given."""

    built_in: dict[str, Any]

    def get_code(self, fullname: str) -> CodeType:
        """Compile the module as those of a script are; what Python keeps in `__pycache__` is for others."""
        path = self.get_filename(fullname)
        return compile_module(parse_module(self.get_data(path), path), path)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = self.built_in
        super().exec_module(module)


class _Finder:
    """Finds the modules whose files lie in the script's folder, on the path that Python gives a script.

    A folder inside that was on the path before belongs to an installation, not to the script.
    """

    def __init__(self, folder: Path, built_in: dict[str, Any]) -> None:
        self._folder = folder.resolve()
        self._built_in = built_in
        self._installed = {Path(entry).resolve() for entry in sys.path if entry} - {self._folder}
        self._present = set(sys.modules)

    def has(self, name: str) -> bool:
        """Return whether a module of the script has this name: its own `commands.py` goes before Python 2's."""
        return name not in self._present and self.find_spec(name) is not None

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module for `sys.meta_path`."""
        if fullname.partition(".")[0] in self._present:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or not isinstance(spec.loader, SourceFileLoader) or not self._owns(fullname, spec):
            return None
        loader = _Loader(spec.loader.name, spec.loader.path)
        loader.built_in = self._built_in
        spec.loader = loader
        return spec

    def _owns(self, fullname: str, spec: ModuleSpec) -> bool:
        file = Path(spec.origin or "").resolve()
        depth = fullname.count(".") + (1 if file.name == "__init__.py" else 0)
        entry = file.parents[depth]
        return entry.is_relative_to(self._folder) and entry not in self._installed


def is_view(value: object) -> bool:
    """Return whether a module is one that only scripts see."""
    return isinstance(value, View)
