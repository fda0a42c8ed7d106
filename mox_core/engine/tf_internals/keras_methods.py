"""Methods of Keras's classes that are wrapped for a trace, also where `model_fn` is the first to import Keras."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from mox_core.engine.tf_internals.at_import import when_imported

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Wrapped: TypeAlias = tuple[type, str, Callable[[Callable[..., Any]], Callable[..., Any]]]
"""A class, the name of a method of it, and what makes of the method the one that takes its place."""


@contextlib.contextmanager
def wrapped(methods: Callable[[Any], Sequence[Wrapped]], module: str = "keras") -> Iterator[None]:
    """Wrap methods of Keras for the block; after it they are the same objects as before, or inherited again.

    Args:
        methods: returns the methods; it is given the module.
        module: the name of the module: `keras`, or `tf_keras` for Keras 2.
    """
    with contextlib.ExitStack() as stack:

        def wrap() -> None:
            for kind, name, wrapper in methods(sys.modules[module]):
                original = getattr(kind, name)
                if name in vars(kind):
                    stack.callback(setattr, kind, name, original)
                else:
                    stack.callback(delattr, kind, name)
                setattr(kind, name, wrapper(original))

        # TensorFlow imports Keras, unless TF_USE_LEGACY_KERAS is set.
        stack.enter_context(when_imported(module, wrap))
        yield
