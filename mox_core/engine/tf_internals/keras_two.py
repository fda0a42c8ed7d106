"""tf_keras, the Keras 2 beside TensorFlow, in `model_fn`: its layers are those of TF2.

tf_keras makes layers of TF1 in graphs of `wrap_function`, by their names. Those go by a placeholder of their own in
place of `training`, move no averages by themselves, and some end in a RecursionError. The layers of
`tf.compat.v1.layers` and tf_slim are made for TF1, and stay that.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine.tf_internals.at_import import when_imported

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAME: Final = "model_fn"
_TF1_LAYERS: Final = ".legacy_tf_layers"


def is_of_tf1(layer_type: type) -> bool:
    """Return whether a class of layers is one of `tf.compat.v1.layers` or of tf_slim."""
    return any(_TF1_LAYERS in kind.__module__ for kind in layer_type.__mro__)


@contextlib.contextmanager
def watch() -> Iterator[None]:
    """Make tf_keras make its layers of TF2 in the block, also if it is imported there."""
    with contextlib.ExitStack() as stack:

        def wrap() -> None:
            utils = sys.modules["tf_keras.src.utils.version_utils"]
            for kind in (utils.LayerVersionSelector, utils.ModelVersionSelector):
                original = vars(kind)["__new__"]
                stack.callback(setattr, kind, "__new__", original)
                kind.__new__ = staticmethod(_under_another_name(original.__func__))

        stack.enter_context(when_imported("tf_keras", wrap))
        yield


def _under_another_name(make: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(make)
    def new(layer_type: type, *args: Any, **kwargs: Any) -> Any:
        graph: Any = tf.compat.v1.get_default_graph()
        if tf.executing_eagerly() or is_of_tf1(layer_type):
            return make(layer_type, *args, **kwargs)
        before = getattr(graph, "name", None)
        graph.name = _NAME
        try:
            return make(layer_type, *args, **kwargs)
        finally:
            graph.name = before

    return new
