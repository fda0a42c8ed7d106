"""What keeps a state in `input_fn`: lookup tables, Keras's seeds and layers that learn a vocabulary or a mean.

Replaced while a run lasts, and only where `input_fn` is being traced.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import uuid
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from tensorflow.python.ops import gen_lookup_ops  # type: ignore[attr-defined]  # not in the stubs

from mox_core.engine.input.input_state import refuse_generator
from mox_core.engine.input.input_trace import is_tracing, trace_of
from mox_core.engine.randomness import current_scope
from mox_core.engine.tf_internals import keras_methods
from mox_core.engine.tf_patches.replaced import replaced
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAMED: Final = ("mutable_hash_table_v2", "mutable_hash_table_of_tensors_v2", "mutable_dense_hash_table_v2")
_ADAPTED: Final = ("Discretization", "IntegerLookup", "Normalization", "StringLookup", "TextVectorization")
_run_of_process: Final = uuid.uuid4().hex
_numbers = itertools.count()


@contextlib.contextmanager
def state_of_input_fn() -> Iterator[None]:
    """Make tables, seeds and layers of `input_fn` those of the whole input for the block."""
    named = [(gen_lookup_ops, name, _shared(getattr(gen_lookup_ops, name))) for name in _NAMED]
    anonymous = [
        (
            gen_lookup_ops,
            f"anonymous_{name.removesuffix('_v2')}",
            _instead(f"anonymous_{name.removesuffix('_v2')}", made),
        )
        for _, name, made in named
    ]
    generators = (tf.random.Generator, "__init__", _refused(tf.random.Generator.__init__))
    with replaced(*named, *anonymous, generators), keras_methods.wrapped(_of_keras):
        yield


def _of_keras(keras: Any) -> list[keras_methods.Wrapped]:
    layers = [getattr(keras.layers, name) for name in _ADAPTED]
    return [
        *((layer, "adapt", _adapt_eagerly) for layer in layers),
        *((layer, "__init__", _made_eagerly) for layer in layers),
        (keras.random.SeedGenerator, "next", _seeds_of_run),
    ]


def _is_traced_here() -> bool:
    return trace_of(tf.compat.v1.get_default_graph()) is not None


def _shared(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes a table with a name, under which each function of the input finds the same one."""

    @functools.wraps(original)
    def make(*args: Any, **kwargs: Any) -> Any:
        if _is_traced_here():
            kwargs |= {"shared_name": f"mox/{_run_of_process}/{next(_numbers)}", "use_node_name_sharing": False}
        return original(*args, **kwargs)

    return make


def _instead(name: str, named: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes a named table in place of one without a name."""
    original = getattr(gen_lookup_ops, name)

    @functools.wraps(original)
    def make(*args: Any, **kwargs: Any) -> Any:
        return (named if _is_traced_here() else original)(*args, **kwargs)

    return make


def _adapt_eagerly(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def adapt(layer: Any, data: Any, *args: Any, **kwargs: Any) -> Any:
        if not _is_traced_here():
            return original(layer, data, *args, **kwargs)
        if tf.is_symbolic_tensor(data) or _is_of_graph(data):
            raise UsageError(
                f"input_fn adapts {type(layer).__name__} to what it makes itself, and its graph has no values yet: "
                "give adapt an array, or a dataset from outside of input_fn, or adapt the layer outside of it."
            )
        with tf.init_scope():
            return original(layer, data, *args, **kwargs)

    return adapt


def _made_eagerly(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def init(layer: Any, *args: Any, **kwargs: Any) -> None:
        with tf.init_scope() if _is_traced_here() else contextlib.nullcontext():
            original(layer, *args, **kwargs)

    init.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]  # what Keras goes by
    return init


def _is_of_graph(data: Any) -> bool:
    return isinstance(data, tf.data.Dataset) and tf.is_symbolic_tensor(tf.data.experimental.to_variant(data))


def _seeds_of_run(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that takes seeds from the run, as `tf.random` does, and leaves the state of the generator."""

    @functools.wraps(original)
    def next_seed(generator: Any, *args: Any, **kwargs: Any) -> Any:
        scope = current_scope()
        if scope is None or not is_tracing() or tf.executing_eagerly():
            return original(generator, *args, **kwargs)
        if not scope.covers_current_graph():
            scope.passed_over += 1
            return original(generator, *args, **kwargs)
        return tf.cast(scope.next_seed(), generator.state.dtype)

    return next_seed


def _refused(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def init(generator: Any, *args: Any, **kwargs: Any) -> None:
        if _is_traced_here():
            raise refuse_generator(" that it makes")
        original(generator, *args, **kwargs)

    return init
