"""Everything that a run changes in TensorFlow, undone when it ends."""

from __future__ import annotations

import contextlib
import contextvars
import sys
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core import chatter
from mox_core.engine.log_setup import info_logging
from mox_core.engine.tf_internals.at_import import when_imported
from mox_core.engine.tf_internals.keras_scopes import in_stateless_scope
from mox_core.engine.tf_internals.replica_collections import Collection
from mox_core.engine.tf_patches.eager_values import eager_values
from mox_core.engine.tf_patches.generators import watched_generators
from mox_core.engine.tf_patches.input_state import state_of_input_fn
from mox_core.engine.tf_patches.large_arrays import arrays_by_reference
from mox_core.engine.tf_patches.one_shot_iterators import one_shot_iterators
from mox_core.engine.tf_patches.random_ops import stateless_random_ops
from mox_core.engine.tf_patches.replaced import replaced
from mox_core.engine.tf_patches.tf1_layers import slim_layers, tf1_layers
from mox_core.engine.tf_patches.tf1_losses import losses_of_several_types
from mox_core.engine.tf_patches.variable_handles import nameless_handles
from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


_running: contextvars.ContextVar[bool] = contextvars.ContextVar("mox_running", default=False)


@contextlib.contextmanager
def run_scope() -> Iterator[None]:
    """Change TensorFlow for the block, as TF1-style code and exact resumes need it.

    Raises:
        UsageError: where no run can work, because of what is around it or what the script has switched off.
    """
    _check_surroundings()
    token = _running.set(True)
    try:
        with (
            when_imported("keras", _check_backend),
            info_logging(),
            chatter.of_images(),
            hashable_tensors(),
            collections_by_identity(),
            slim_layers(),
            tf1_layers(),
            losses_of_several_types(),
            stateless_random_ops(),
            one_shot_iterators(),
            watched_generators(),
            state_of_input_fn(),
            arrays_by_reference(),
            eager_values(),
            nameless_handles(),
        ):
            yield
    finally:
        _running.reset(token)


def _check_surroundings() -> None:
    if not tf.executing_eagerly() and _running.get():
        raise UsageError(
            "mox.run is called in input_fn or model_fn of another run, whose graph is being built: call it before that "
            "run or after it, or in a hook or output_fn."
        )
    if not tf.executing_eagerly():
        raise UsageError(
            "TensorFlow does not execute eagerly, and mox runs on TF2: remove tf.compat.v1.disable_v2_behavior() and "
            "disable_eager_execution(), and call mox.run outside of graphs and of tf.function. "
            "TF1-style code in model_fn needs neither."
        )
    if tf.distribute.has_strategy():
        strategy = type(tf.distribute.get_strategy()).__name__
        raise UsageError(
            f"mox.run is called under a {strategy}, and has replicas of its own: call it outside of strategy.scope() "
            "and strategy.run(). Several GPUs are used by --num_gpus=2, several machines by --worker_hosts."
        )
    if in_stateless_scope():
        raise UsageError(
            "mox.run is called inside of a keras.StatelessScope, in which Keras makes no variables: call it outside. "
            "In model_fn call a model as model(x), in the place of model.stateless_call."
        )
    if isinstance(tf.TensorShape([1])[0], tf.compat.v1.Dimension):
        raise UsageError(
            "TensorFlow gives dimensions of TF1, and mox runs on TF2: remove tf.compat.v1.disable_v2_tensorshape(). "
            "tensor.shape.as_list() gives integers in both, where the code has tensor.shape[0].value."
        )


def _check_backend() -> None:
    backend = sys.modules["keras"].config.backend()
    if backend != "tensorflow":
        raise UsageError(
            f"Keras runs on {backend!r}, and mox on TensorFlow: set KERAS_BACKEND=tensorflow, or leave it out, before "
            "Keras is imported."
        )


@contextlib.contextmanager
def hashable_tensors() -> Iterator[None]:
    """Make variables and tensors of a graph hashable, as keys of a `feed_dict` or in a set; `==` stays elementwise."""
    original = tf.Tensor.__hash__

    def hash_of(tensor: tf.Tensor) -> int:
        return id(tensor) if tf.is_symbolic_tensor(tensor) else original(tensor)

    with replaced((tf.Tensor, "__hash__", hash_of), (tf.Variable, "__hash__", object.__hash__)):
        yield


@contextlib.contextmanager
def collections_by_identity() -> Iterator[None]:
    """Make `variable in tf.compat.v1.get_collection(...)` what it is in TF1; TF2 compares element by element."""
    graphs: Any = tf.Graph  # the stubs of TensorFlow do not know the method
    original = graphs.get_collection

    def get_collection(graph: tf.Graph, name: str, scope: str | None = None) -> Collection:
        return Collection(original(graph, name, scope))

    with replaced((graphs, "get_collection", get_collection)):
        yield
