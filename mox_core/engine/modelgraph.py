"""`model_fn` traced for one mode: what it returned, and functions that run it.

Each trace is a graph of its own with its own collections, so that nothing of another mode or run is found in it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import warnings
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from attrs import define, field

# TensorFlow has no public name for what tf.function does to order the ops of its body; `wrap_function` leaves it out.
from tensorflow.python.framework.auto_control_deps import AutomaticControlDependencies

from mox_core.engine import adopted, copies, keras_names, keras_variables, randomness
from mox_core.engine.calls import Call, Loss, apart, groups, hooks_of, mean_losses, num_samples, values_of_step
from mox_core.engine.variables import Names
from mox_core.errors import UsageError
from mox_core.modes import ModeKeys
from mox_core.specs import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy as np

    from mox_core.engine.optimize import Training
    from mox_core.engine.replicator import Replicator
    from mox_core.engine.state import RunState
    from mox_core.session_hooks import AggregativeSessionRunHook

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
    return copies.collection(graph, key)


@define(kw_only=True)
class ModelGraph:
    """The graph of one mode.

    Attributes:
        mode: the mode it was traced for.
        spec: what `model_fn` returned, for the first copy of the model.
        hooks: its hooks, and those of other copies that are not one for all.
        losses: the losses of the spec; empty where it has none.
        num_replicas: how many copies of the model it holds.
        samples: how many samples a step sees; None where batches differ.
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
    hooks: tuple[AggregativeSessionRunHook, ...]
    losses: tuple[Loss, ...]
    learning_rate: tf.Tensor | None
    watched: tuple[str, ...]
    num_replicas: int
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
        """Takes what a step gave apart: 'losses', 'log' by name, 'outputs' of each copy, maybe 'learning_rate'."""
        losses, log = numbers[: len(self.losses)], numbers[len(self.losses) :]
        values = {"losses": losses, "log": dict(zip(self.watched, log, strict=False)), "outputs": apart(outputs)}
        return values | ({} if self.learning_rate is None else {"learning_rate": numbers[-1]})

    def placeholders(self) -> dict[str, tf.Tensor]:
        """The placeholders that `model_fn` made itself, by name: hooks have to feed them."""
        fed = {tensor.op.name for tensor in self.inputs}
        late = [placeholder for placeholder, _ in self._late_captures()]
        captured = {tensor.op.name for tensor in (*self.graph.internal_captures, *late)}
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
        late = self._late_captures()
        taken = [*self.inputs, *feeds, *(placeholder for placeholder, _ in late)]
        pruned = self.traced.prune(taken, wanted)
        # Called itself, a pruned function first tries a signature that it does not have, and that takes a millisecond.
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in taken]
        compiled = tf.function(lambda *args: pruned(*args)[: len(flat)], autograph=False).get_concrete_function(*specs)

        def call(*args: Any, late: Sequence[tf.Tensor] | None = None) -> Any:
            values = compiled(*args, *(self.late_values() if late is None else late))
            return tf.nest.pack_sequence_as(fetches, values)

        return call

    def step(self) -> Callable[..., dict[str, Any]]:
        """Returns `traced` as a function of (positions, record, *inputs, late=late_values()), for loops of a graph."""
        if self._late_captures():
            return self.function([], self.graph.structured_outputs, effects=True)
        traced = self.traced
        return lambda *inputs, late: traced(*inputs, *late)  # nothing is late

    def late_values(self) -> list[tf.Tensor]:
        """Returns what TensorFlow puts in at each call: to be asked for outside of loops and branches."""
        values: list[tf.Tensor] = tf.nest.flatten([value() for _, value in self._late_captures()])
        return values

    def _late_captures(self) -> list[tuple[tf.Tensor, Callable[[], tf.Tensor]]]:
        """Values that TensorFlow puts in at each call, as the keys of collectives: it forgets them in pruning."""
        graph: Any = self.graph
        return list(zip(graph.deferred_internal_captures, graph.deferred_external_captures, strict=True))


def build(  # noqa: PLR0913  (all that a trace depends on)
    model_fn: Callable[..., Any],
    mode: str,
    state: RunState,
    input_specs: Sequence[tf.TensorSpec],
    *,
    replicator: Replicator | None = None,
    first_log: bool = True,
    train: Training | None = None,
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
        replicator: on which devices the model is; those of the run, if not given.
        first_log: whether the values that TRAIN logs are those of the first device, or the means over all.
        train: adds the ops that train.
        watch: which scalars stand under 'log'; `log_info` by default, which EVAL then needs.
        outputs: whether the values of `output_info` are wanted.
        writer: where `tf.summary` ops write; None for nowhere.

    Raises:
        UsageError: where `model_fn` returns what the mode cannot use.
    """
    replicator = replicator or state.replicator
    made: dict[str, Any] = {}
    start = state.positions.numpy()
    several = len(replicator.devices) > 1
    keys = _random_keys(f"{state.seed}/{mode}/model", replicator)

    def body(positions: tf.Tensor, record: tf.Tensor, *inputs: tf.Tensor) -> dict[str, Any]:
        graph = tf.compat.v1.get_default_graph()
        present, parts = groups(inputs, len(replicator.devices)) if several else (None, [inputs])
        if several:
            copies.prepare(graph)
        constants, names = {positions.op.name: start}, Names()
        stored = functools.partial(state.store.scope, graph, constants, names)

        def call(copy: int) -> Call:
            with contextlib.ExitStack() as stack:
                if several:
                    stack.enter_context(copies.own_names_and_collections())
                if mode != ModeKeys.EXPORT:  # an exported model knows no position, and draws anew in each call
                    stack.enter_context(randomness.seeded(keys[copy], positions[0], graph=graph))
                stack.enter_context(state.store.scope(graph, constants, names if copy == 0 else None))
                stack.enter_context(_current(graph))
                spec = model_fn(list(parts[copy]), mode)
                adopted.adopt(graph, state.store, (state.step, state.positions), training=train is not None)
                check_spec(spec, None if watch else _REQUIRED[mode], mode)
                losses = tuple(_losses(spec))
                return Call(
                    spec=spec,
                    losses=losses,
                    # Before the updates: what is a variable here is told as the step found it.
                    log=_read(watch(spec) if watch else spec.log_info),
                    outputs=_read(spec.output_info) if outputs else {},
                    gradients=train.gradients_of(spec, losses) if train else [],
                    samples=num_samples(parts[copy]),
                )

        with contextlib.ExitStack() as stack:
            dependencies = stack.enter_context(AutomaticControlDependencies())  # type: ignore[no-untyped-call]
            stack.enter_context(_summary_scope(writer, record, state))
            graph.add_to_collection(tf.compat.v1.GraphKeys.GLOBAL_STEP, state.step)
            if train:
                with stored():
                    train.begin()
            calls = replicator.call(call)
            losses, rate = mean_losses(calls, present), None
            if train:
                with _current(graph):
                    losses, rate = train.apply([each.gradients for each in calls], losses, stored)
            if mode == ModeKeys.TRAIN:
                state.advance(positions)
            values = values_of_step(calls, losses, rate, present, first_log=mode == ModeKeys.TRAIN and first_log)
            result = tf.nest.map_structure(dependencies.mark_as_return, values)
        samples = tf.get_static_value(values["samples"])
        made.update(
            spec=calls[0].spec,
            hooks=hooks_of(calls),
            num_replicas=len(calls),
            losses=calls[0].losses,
            watched=tuple(calls[0].log),
            learning_rate=rate,
            samples=samples if samples is None else int(samples),
            inputs=(positions, record, *inputs),
            # Summary ops are conditional on `record`, and nothing else is.
            has_summaries=bool(record.consumers()),
            effects=tuple(dependencies.ops_which_must_run),
        )
        # Without these, the function would run only what its results need, and updates would vanish.
        graph.control_outputs.extend(dependencies.ops_which_must_run)
        return result

    signature = [tf.TensorSpec(state.positions.shape, tf.int64), tf.TensorSpec([], tf.bool), *input_specs]
    with (
        keras_names.fresh_layer_names(),
        keras_variables.watch(),
        randomness.python_random(f"{state.seed}/model"),
    ):
        traced = tf.compat.v1.wrap_function(body, signature)
    if train:
        adopted.check_none_left(traced.graph, state.store, [loss.tensor for loss in made["losses"]])
    return ModelGraph(mode=mode, traced=traced, **made)


def _random_keys(key: str, replicator: Replicator) -> list[str]:
    """Returns what the random numbers of each copy depend on: no two of all workers draw the same."""
    first = replicator.peers.index * len(replicator.devices)
    return [f"{key}/{first + copy}" if first + copy else key for copy in range(len(replicator.devices))]


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
