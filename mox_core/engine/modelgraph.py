"""`model_fn` traced for one mode: what it returned, and functions that run it.

Each trace is a graph of its own with its own collections, so that nothing of another mode or run is found in it.
"""

from __future__ import annotations

import contextlib
import contextvars
import warnings
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field, frozen

# TensorFlow has no public name for what tf.function does to order the ops of its body; `wrap_function` leaves it out.
from tensorflow.python.framework.auto_control_deps import AutomaticControlDependencies

from mox_core.engine import adopted, keras_names, randomness
from mox_core.errors import UsageError
from mox_core.modes import ModeKeys
from mox_core.specs import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np

    from mox_core.engine.state import RunState

_REQUIRED = {
    ModeKeys.TRAIN: "loss",
    ModeKeys.EVAL: "log_info",
    ModeKeys.PREDICT: "output_info",
    ModeKeys.EXPORT: "export_spec",
}

_graph: contextvars.ContextVar[tf.Graph | None] = contextvars.ContextVar("mox_model_graph", default=None)


def get_collection(key: str) -> list[Any]:
    """Returns what this call of `model_fn` has put into a collection, as `tf.compat.v1.get_collection` would.

    Args:
        key: the name of the collection, one of `tf.compat.v1.GraphKeys` for instance.

    Raises:
        UsageError: outside `model_fn` and `optimizer_fn`.
    """
    graph = _graph.get()
    if graph is None:
        msg = "mox.get_collection gives what model_fn has made: call it inside model_fn or optimizer_fn."
        raise UsageError(msg)
    return list(graph.get_collection(key))


@frozen
class Loss:
    """A loss and the name under which messages speak of it."""

    name: str
    tensor: tf.Tensor


@define(kw_only=True)
class ModelGraph:
    """The graph of one mode.

    Attributes:
        mode: the mode it was traced for.
        spec: what `model_fn` returned.
        losses: the losses of the spec; empty where it has none.
        samples: how many samples a batch holds; None where batches differ.
        traced: the graph as a function of (positions, record, *inputs). It runs every op with an effect (updates of
            weights and averages, assertions, prints) and gives a dict: 'numbers' (a vector of the losses, what is
            watched and the learning rate), 'outputs' and 'samples'.
        effects: those ops.
        inputs: the placeholders of (positions, record, *inputs).
        learning_rate: the learning rate of the first optimizer, None without one.
        watched: the names under 'log'.
        has_summaries: whether `model_fn` makes summaries of its own.
    """

    mode: str
    spec: ModelSpec
    losses: tuple[Loss, ...]
    learning_rate: tf.Tensor | None
    watched: tuple[str, ...]
    samples: int | None
    has_summaries: bool
    effects: tuple[tf.Operation, ...]
    inputs: tuple[tf.Tensor, ...]
    traced: Any = field(repr=False)

    @property
    def graph(self) -> tf.Graph:
        """The graph itself, for hooks that name its tensors."""
        return self.traced.graph

    def values_of(self, numbers: np.ndarray[Any, Any], outputs: dict[str, Any]) -> dict[str, Any]:
        """Takes the numbers of a step apart: 'losses', 'log' by name, and 'learning_rate' where there is one."""
        losses, log = numbers[: len(self.losses)], numbers[len(self.losses) :]
        values = {"losses": losses, "log": dict(zip(self.watched, log, strict=False)), "outputs": outputs}
        return values | ({} if self.learning_rate is None else {"learning_rate": numbers[-1]})

    def placeholders(self) -> dict[str, tf.Tensor]:
        """The placeholders that `model_fn` made itself, by name: hooks have to feed them."""
        fed = {tensor.op.name for tensor in self.inputs}
        captured = {tensor.op.name for tensor in self.graph.internal_captures}
        return {
            op.name: op.outputs[0]
            for op in self.graph.get_operations()
            if op.type == "Placeholder" and op.name not in fed and op.name not in captured
        }

    def function(self, feeds: Sequence[tf.Tensor], fetches: Any, *, effects: bool) -> Callable[..., Any]:
        """Returns a function of the inputs and further fed tensors that computes chosen tensors.

        Args:
            feeds: tensors to be fed behind (positions, record, *inputs).
            fetches: tensors and operations in any nest.
            effects: whether the ops with an effect run too, as in a step.
        """
        # Variables are read when the step is over: without an order it would be before or after its updates by chance.
        with self.graph.as_default(), tf.control_dependencies(self.effects if effects else []):
            flat = [each.read_value() if isinstance(each, tf.Variable) else each for each in tf.nest.flatten(fetches)]
        wanted = [*flat, *self.effects] if effects else flat
        taken = [*self.inputs, *feeds]
        pruned = self.traced.prune(taken, wanted)
        # Called itself, a pruned function first tries a signature that it does not have, and that takes a millisecond.
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in taken]
        compiled = tf.function(lambda *args: pruned(*args)[: len(flat)], autograph=False).get_concrete_function(*specs)
        return lambda *args: tf.nest.pack_sequence_as(fetches, compiled(*args))


def build(
    model_fn: Callable[..., Any],
    mode: str,
    state: RunState,
    input_specs: Sequence[tf.TensorSpec],
    *,
    train: Callable[[ModelSpec, Sequence[Loss]], tf.Tensor | None] | None = None,
    watch: Callable[[ModelSpec], dict[str, Any]] | None = None,
    outputs: bool = False,
    writer: tf.summary.SummaryWriter | None = None,
) -> ModelGraph:
    """Calls `model_fn` once, in a graph of its own.

    Args:
        model_fn: the user's function of inputs and mode.
        mode: one of `ModeKeys`.
        state: the variables of the run.
        input_specs: what the input gives.
        train: adds the ops that train, and returns the learning rate.
        watch: which scalars stand under 'log'; `log_info` by default, which EVAL then needs.
        outputs: whether the values of `output_info` are wanted.
        writer: where `tf.summary` ops write; None for nowhere.

    Raises:
        UsageError: where `model_fn` returns what the mode cannot use.
    """
    made: dict[str, Any] = {}
    start = state.positions.numpy()

    def body(positions: tf.Tensor, record: tf.Tensor, *inputs: tf.Tensor) -> dict[str, Any]:
        graph = tf.compat.v1.get_default_graph()
        with contextlib.ExitStack() as stack:
            dependencies = stack.enter_context(AutomaticControlDependencies())  # type: ignore[no-untyped-call]
            stack.enter_context(_summary_scope(writer, record, state))
            if mode != ModeKeys.EXPORT:  # an exported model knows no position, and draws anew in each call
                stack.enter_context(randomness.seeded(f"{state.seed}/{mode}/model", positions[0], graph=graph))
            stack.enter_context(state.store.scope(graph, {positions.op.name: start}))
            stack.enter_context(_current(graph))
            graph.add_to_collection(tf.compat.v1.GraphKeys.GLOBAL_STEP, state.step)
            spec = model_fn(list(inputs), mode)
            adopted.adopt(graph, state.store, (state.step, state.positions), training=train is not None)
            check_spec(spec, None if watch else _REQUIRED[mode], mode)
            losses = _losses(spec)
            # Before the updates: what is a variable here is told as the step found it.
            log = _read(watch(spec) if watch else spec.log_info)
            wanted = _read(spec.output_info) if outputs else {}
            made["learning_rate"] = train(spec, losses) if train else None
            if mode == ModeKeys.TRAIN:
                state.step.assign_add(1)
                state.positions.assign(positions)
            rate = [] if made["learning_rate"] is None else [made["learning_rate"]]
            values = {
                "numbers": _vector([*(loss.tensor for loss in losses), *log.values(), *rate]),
                "outputs": wanted,
                "samples": _num_samples(inputs),
            }
            result = tf.nest.map_structure(dependencies.mark_as_return, values)
        made.update(
            spec=spec,
            losses=tuple(losses),
            watched=tuple(log),
            samples=_as_int(tf.get_static_value(values["samples"])),
            inputs=(positions, record, *inputs),
            # Summary ops are conditional on `record`, and nothing else is.
            has_summaries=bool(record.consumers()),
            effects=tuple(dependencies.ops_which_must_run),
        )
        # Without these, the function would run only what its results need, and updates would vanish.
        graph.control_outputs.extend(dependencies.ops_which_must_run)
        return result

    signature = [tf.TensorSpec(state.positions.shape, tf.int64), tf.TensorSpec([], tf.bool), *input_specs]
    with keras_names.fresh_layer_names(), randomness.python_random(f"{state.seed}/model"):
        traced = tf.compat.v1.wrap_function(body, signature)
    if train:
        adopted.check_none_left(traced.graph, state.store, [loss.tensor for loss in made["losses"]])
    return ModelGraph(mode=mode, traced=traced, **made)


def _read(values: Mapping[str, Any] | None) -> dict[str, tf.Tensor]:
    return {name: tf.convert_to_tensor(value) for name, value in (values or {}).items()}


def check_spec(spec: object, required: str | None, mode: str) -> None:
    """Checks what `model_fn` returned against what the mode needs.

    Raises:
        UsageError: with the mode, the field, and what it holds.
    """
    if not isinstance(spec, ModelSpec):
        msg = f"model_fn returned {spec!r} in mode {mode}. It returns a mox.ModelSpec(...)."
        raise UsageError(msg)
    value = getattr(spec, required) if required else None
    if required and (value is None or (isinstance(value, (dict, list, tuple)) and not value)):
        msg = (
            f"model_fn returned a ModelSpec without {required} in mode {mode}, which needs it: "
            f"pass ModelSpec({required}=...)."
        )
        raise UsageError(msg)
    for name, tensor in (spec.log_info or {}).items():
        _check_scalar(tensor, f"log_info[{name!r}]")
    losses = spec.loss if isinstance(spec.loss, (list, tuple)) else [spec.loss]
    for number, loss in enumerate(losses):
        if loss is not None:
            _check_scalar(loss, "loss" if len(losses) == 1 else f"loss[{number}]")


def _check_scalar(value: Any, name: str) -> None:
    tensor = tf.convert_to_tensor(value)
    if tensor.shape.rank not in (0, None) or not (
        tensor.dtype.is_floating or tensor.dtype.is_integer or tensor.dtype.is_bool
    ):
        msg = (
            f"ModelSpec {name} is a {tensor.dtype.name} tensor of shape {tensor.shape}. It must be a scalar number: "
            "use tf.reduce_mean, for instance."
        )
        raise UsageError(msg)


def _losses(spec: ModelSpec) -> list[Loss]:
    tensors = spec.loss if isinstance(spec.loss, (list, tuple)) else [] if spec.loss is None else [spec.loss]
    names = {id(tensor): name for name, tensor in (spec.log_info or {}).items()}
    plain = ["loss"] if len(tensors) == 1 else [f"loss[{number}]" for number in range(len(tensors))]
    return [Loss(names.get(id(tensor), name), tensor) for tensor, name in zip(tensors, plain, strict=True)]


def _vector(values: Sequence[Any]) -> tf.Tensor:
    """Puts scalars into one vector: float32 where that holds them all exactly, else float64."""
    tensors = [tf.convert_to_tensor(value) for value in values]
    exact = all(
        tensor.dtype.is_bool or (tensor.dtype.is_floating and tensor.dtype.size <= tf.float32.size)
        for tensor in tensors
    )
    dtype = tf.float32 if exact else tf.float64
    return tf.stack([tf.reshape(tf.cast(tensor, dtype), []) for tensor in tensors]) if tensors else tf.zeros([0], dtype)


def _as_int(value: Any) -> int | None:
    return None if value is None else int(value)


def _num_samples(inputs: Sequence[tf.Tensor]) -> tf.Tensor:
    """The size of the batch: the first dimension of the first input, 1 where there is none."""
    batch = next((tensor for tensor in inputs if tensor.shape.rank), None)
    if batch is None:
        return tf.constant(1, tf.int64)
    size = batch.shape[0]
    return tf.shape(batch, tf.int64)[0] if size is None else tf.constant(size, tf.int64)


@contextlib.contextmanager
def _current(graph: tf.Graph) -> Iterator[None]:
    token = _graph.set(graph)
    try:
        yield
    finally:
        _graph.reset(token)


@contextlib.contextmanager
def _summary_scope(writer: tf.summary.SummaryWriter | None, record: tf.Tensor, state: RunState) -> Iterator[None]:
    """Lets summary ops of the model, of TF2 and of TF1, write at the steps at which `record` is true."""
    with contextlib.ExitStack() as stack:
        if writer is None:
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", message="Cannot activate TF2 compatibility")  # TF1's ops find no writer
            stack.enter_context(tf.summary.record_if(False))
        else:
            stack.callback(tf.summary.experimental.set_step, tf.summary.experimental.get_step())
            tf.summary.experimental.set_step(state.step.read_value())
            stack.enter_context(writer.as_default())
            stack.enter_context(tf.summary.record_if(record))
        yield
