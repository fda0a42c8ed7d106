"""Methods of Keras's classes that are wrapped for a trace, also where `model_fn` is the first to import Keras."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Wrapped: TypeAlias = tuple[type, str, Callable[[Callable[..., Any]], Callable[..., Any]]]
"""A class, the name of a method of it, and what makes of the method the one that takes its place."""


@contextlib.contextmanager
def wrapped(methods: Callable[[Any], Sequence[Wrapped]]) -> Iterator[None]:
    """Wrap methods of Keras for the block; after it they are the same objects as before, or inherited again.

    Args:
        methods: returns the methods; it is given the module `keras`.
    """
    with contextlib.ExitStack() as stack:

        def wrap() -> None:
            for kind, name, wrapper in methods(sys.modules["keras"]):
                original = getattr(kind, name)
                if name in vars(kind):
                    stack.callback(setattr, kind, name, original)
                else:
                    stack.callback(delattr, kind, name)
                setattr(kind, name, wrapper(original))

        if "keras" in sys.modules:
            wrap()
        else:  # TensorFlow imports Keras, unless TF_USE_LEGACY_KERAS is set
            finder = _AtImport(wrap)
            sys.meta_path.insert(0, finder)
            stack.callback(sys.meta_path.remove, finder)
        yield


class _AtImport(importlib.abc.MetaPathFinder):
    """A finder of modules that finds Keras as the others do, and calls a function when it has been imported."""

    def __init__(self, then: Callable[[], None]) -> None:
        self._then = then

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        """Return the spec of Keras, whose loader calls the function; None for other modules."""
        del path, target
        if name != "keras":
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
