"""What is done when a module has been imported, which Python tells nobody: a finder waits in `sys.meta_path`."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def when_imported(name: str, then: Callable[[], None]) -> Iterator[None]:
    """Call a function at once if a module has been imported, else when it is imported in the block.

    Args:
        name: name of the module.
        then: the function.
    """
    if sys.modules.get(name) is not None:  # None where there is no such module
        then()
        yield
        return
    finder = _AtImport(name, then)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _AtImport(importlib.abc.MetaPathFinder):
    """A finder of modules that finds one as the others do, and calls a function when it has been imported."""

    def __init__(self, module: str, then: Callable[[], None]) -> None:
        self._module = module
        self._then = then

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        """Return the spec of the module, whose loader calls the function; None for other modules."""
        del path, target
        if name != self._module:
            return None
        with self._set_aside():
            spec = importlib.util.find_spec(name)
        loader: Any = spec.loader if spec else None
        if loader is None:
            return spec
        execute = loader.exec_module

        def execute_and_tell(module: Any) -> None:
            loader.exec_module = execute
            execute(module)
            if self in sys.meta_path:
                self._then()

        loader.exec_module = execute_and_tell
        return spec

    @contextlib.contextmanager
    def _set_aside(self) -> Iterator[None]:
        sys.meta_path.remove(self)
        try:
            yield
        finally:
            sys.meta_path.insert(0, self)
