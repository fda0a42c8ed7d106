"""`model_fn` traced for one mode, in a graph of its own with its own collections."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import tensorflow as tf
from attrs import define, field

from mox_core.engine import randomness
from mox_core.engine.input.structure import InputStructure
from mox_core.engine.model.effects import Effects, sort_effects
from mox_core.engine.model.frozen_layers import hold_batch_norms, is_frozen
from mox_core.engine.model.metrics import LogTensors, Metrics, check_additive, count_present_only, log_tensors
from mox_core.engine.model.model_graph import ModelGraph
from mox_core.engine.model.random_draws import warn_of_unseeded
from mox_core.engine.model.replica_outputs import (
    ReplicaOutput,
    hooks_of_replicas,
    mean_losses,
    num_samples,
    split_inputs,
    step_values,
)
from mox_core.engine.model.spec_checks import REQUIRED_FIELDS, check_scalar, check_spec
from mox_core.engine.optimizer.gradients import Loss
from mox_core.engine.optimizer.train_step import NoTrainStep, TrainStep
from mox_core.engine.tf_internals import (
    func_graph,
    keras_batch_norm,
    keras_names,
    keras_owners,
    keras_training,
    keras_two,
    replica_collections,
    traced_functions,
)
from mox_core.engine.tf_internals.expected_warnings import ignore_missing_summary_writer
from mox_core.engine.tf_internals.variables import handles_of, local_parts
from mox_core.engine.variables.keras_variables import adopt_keras_variables, check_all_known
from mox_core.engine.variables.names import TraceNames
from mox_core.errors import UsageError
from mox_core.modes import ModeKeys
from mox_core.network_building import LAYER_NAMES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mox_core.engine.distribute.replicator import Replicator
    from mox_core.engine.variables.run_state import RunState
    from mox_core.specs import ModelSpec

SummaryScope: TypeAlias = Callable[[tf.Tensor, tf.Variable], contextlib.AbstractContextManager[None]]
"""A context of (whether the step records summaries, the global step) in which summary operations are made."""

_graph: contextvars.ContextVar[tf.Graph | None] = contextvars.ContextVar("mox_model_graph", default=None)


def get_collection(key: str) -> list[Any]:
    """Return what this call of `model_fn` has put into a collection, as `tf.compat.v1.get_collection` would.

    Args:
        key: the name of the collection, one of `tf.compat.v1.GraphKeys` for instance.

    Raises:
        UsageError: outside `model_fn` and `optimizer_fn`.
    """
    graph = _graph.get()
    if graph is None:
        raise UsageError("mox.get_collection gives what model_fn has made: call it inside model_fn or optimizer_fn.")
    return replica_collections.collection_of_replica(graph, key)


@contextlib.contextmanager
def no_summaries(record: tf.Tensor, step: tf.Variable) -> Iterator[None]:
    """Make summary operations of the block write nothing."""
    del record, step
    with ignore_missing_summary_writer(), tf.summary.record_if(False):
        yield


def trace_model(  # noqa: PLR0913  (all that a trace depends on)
    model_fn: Callable[..., Any],
    mode: str,
    state: RunState,
    input_specs: Sequence[tf.TensorSpec],
    *,
    structure: InputStructure | None = None,
    replicator: Replicator | None = None,
    first_log: bool = True,
    train_step: TrainStep | NoTrainStep | None = None,
    log_values: Callable[[ModelSpec], dict[str, Any]] | None = None,
    outputs: bool = False,
    summary_scope: SummaryScope = no_summaries,
) -> ModelGraph:
    """Call `model_fn` once for each replica, in a graph of its own.

    Args:
        model_fn: the user's function of inputs and mode.
        mode: one of `ModeKeys`.
        state: the variables of the run.
        input_specs: what the input gives.
        structure: the structure in which a replica gets its inputs; a list of tensors, if not given.
        replicator: where the replicas are; that of the run, if not given.
        first_log: whether the values that TRAIN logs are those of the first replica, or the means over all.
        train_step: adds the operations that train; none, if not given.
        log_values: returns what stands under 'log'; `log_info` by default, which EVAL then needs.
        outputs: whether the values of `output_info` are wanted.
        summary_scope: where `tf.summary` operations write.

    Raises:
        UsageError: if `model_fn` returns what the mode cannot use.
    """
    trace = _ModelTrace(
        model_fn=model_fn,
        mode=mode,
        state=state,
        structure=structure or InputStructure(tuple(input_specs)),
        replicator=replicator or state.replicator,
        first_log=first_log,
        train_step=train_step or NoTrainStep(),
        log_values=log_values,
        outputs=outputs,
        summary_scope=summary_scope,
        start=state.positions.numpy(),
    )
    signature = [tf.TensorSpec(state.positions.shape, tf.int64), tf.TensorSpec([], tf.bool), *input_specs]
    with (
        keras_names.fresh_layer_names(),
        keras_owners.watch(),
        keras_training.watch(),
        keras_batch_norm.watch(),
        keras_two.watch(),
        traced_functions.watch(),
        randomness.python_random(f"{state.seed}/model"),
    ):
        traced = tf.compat.v1.wrap_function(trace.body, signature)
    if trace.train_step.trains:
        check_all_known(traced.graph, state.store, [loss.tensor for loss in trace.made["losses"]])
        warn_of_unseeded(traced.graph)
    return ModelGraph(mode=mode, traced=traced, **trace.made)


@define(kw_only=True)
class _ModelTrace:
    """One trace, with the arguments of `trace_model`.

    Attributes:
        start: the positions of the input, from which initial values may be computed.
        made: what is known of the graph when the trace is over.
    """

    model_fn: Callable[..., Any]
    mode: str
    state: RunState
    structure: InputStructure
    replicator: Replicator
    first_log: bool
    train_step: TrainStep | NoTrainStep
    log_values: Callable[[ModelSpec], dict[str, Any]] | None
    outputs: bool
    summary_scope: SummaryScope
    start: Any
    made: dict[str, Any] = field(factory=dict, init=False)
    _graph: tf.Graph = field(init=False)
    _constants: dict[str, Any] = field(init=False)
    _names: TraceNames = field(factory=TraceNames, init=False)

    def body(self, positions: tf.Tensor, record: tf.Tensor, *inputs: tf.Tensor) -> dict[str, Any]:
        """Build the graph of a step, and return its results."""
        self._graph = tf.compat.v1.get_default_graph()
        self._graph.add_to_collection(LAYER_NAMES, keras_names.fresh_layer_names)
        self._constants = {positions.op.name: self.start}
        several = len(self.replicator.devices) > 1
        if several:
            replica_collections.prepare_graph(self._graph)
        present, inputs_of = split_inputs(inputs, len(self.replicator.devices)) if several else (None, [inputs])
        with func_graph.automatic_control_dependencies() as dependencies:
            replicas, losses, rate, effects = self._step(positions, record, inputs_of, present)
            for operation in effects.set_aside:
                dependencies.run_independently(operation)  # nothing waits for it
            first_log = self.mode == ModeKeys.TRAIN and self.first_log
            values = step_values(replicas, losses, rate, present, first_log=first_log)
            result = tf.nest.map_structure(dependencies.mark_as_return, values)
        if self.mode == ModeKeys.TRAIN:
            effects.report()
        elif self.mode != ModeKeys.EXPORT and self.log_values is None:
            effects.report_of_training()
        must_run = dependencies.ops_which_must_run.difference(effects.set_aside)
        if effects.set_aside:
            func_graph.wait_for(tf.nest.flatten(result), must_run)
        self.made = {
            **self._parts(replicas, values["samples"]),
            "learning_rate": rate,
            "inputs": (positions, record, *inputs),
            # Summary operations are conditional on `record`, and nothing else is.
            "has_summaries": bool(record.consumers()),
            "effects": tuple(must_run),
            "set_aside": tuple(effects.set_aside),
            "moved": tuple(effects.moved),
        }
        # Without these, the function would run only what its results need, and updates would vanish.
        func_graph.run_always(self._graph, must_run)
        return result

    def _parts(self, replicas: Sequence[ReplicaOutput], samples: tf.Tensor) -> dict[str, Any]:
        """Return what the graph has of its replicas."""
        first, number = replicas[0], tf.get_static_value(samples)
        return {
            "spec": first.spec,
            "hooks": hooks_of_replicas(replicas),
            "num_replicas": len(replicas),
            "losses": first.losses,
            "log_names": tuple(first.log.scalars),
            "metrics": Metrics(
                names=first.log.names,
                tensors=first.log.metrics,
                variables=self.state.store.locals_of(self._graph),
                graph=self._graph,
            ),
            "samples": number if number is None else int(number),
        }

    def _step(
        self,
        positions: tf.Tensor,
        record: tf.Tensor,
        inputs_of: Sequence[Sequence[tf.Tensor]],
        present: tf.Tensor | None,
    ) -> tuple[list[ReplicaOutput], list[tf.Tensor], tf.Tensor | None, Effects]:
        """Return what each replica gave, the losses, the learning rate, and which effects are not of each step."""
        with self.summary_scope(record, self.state.step):
            self._graph.add_to_collection(tf.compat.v1.GraphKeys.GLOBAL_STEP, self.state.step)
            with self._store_scope():
                self.train_step.begin()
            with keras_owners.given_values(self._graph) as given:
                replicas = self.replicator.run(lambda number: self._call_model_fn(number, positions, inputs_of[number]))
            if self.train_step.frozen:
                hold_batch_norms(self._graph, self.state.store, self.train_step.frozen)
            effects = self._effects(replicas, given)
            effects.give_values(self.state.store, self._graph)  # an optimizer may begin with a copy of the weights
            if present is not None:
                count_present_only(self.state.store.locals_of(self._graph), present)
            losses = mean_losses(replicas, present)
            with self._current():
                targets = [each.targets for each in replicas]
                losses, rate = self.train_step.apply(targets, losses, self._store_scope)
            if self.mode == ModeKeys.TRAIN:
                self.state.advance(positions)
        return replicas, losses, rate, effects

    def _effects(self, replicas: Sequence[ReplicaOutput], given: list[keras_owners.GivenValue]) -> Effects:
        """Return the assignments that are not part of each step, and refuse counts that cannot be added up."""
        store = self.state.store
        counts = store.locals_of(self._graph)
        if len(replicas) > 1 or self.replicator.collective.world_size > 1:
            check_additive(self._graph, counts)
        results = [(each.spec.loss, each.log.scalars, each.outputs, _exported(each.spec)) for each in replicas]
        return sort_effects(
            self._graph,
            [each for each in tf.nest.flatten(results, expand_composites=True) if tf.is_symbolic_tensor(each)],
            training=self.mode == ModeKeys.TRAIN,
            given=given,
            variables={id(part.handle): part for each in store.by_name.values() for part in local_parts(each)},
            counts={handle: each for each in counts for handle in handles_of(each.variable)},
        )

    def _call_model_fn(self, replica: int, positions: tf.Tensor, tensors: Sequence[tf.Tensor]) -> ReplicaOutput:
        several = len(self.replicator.devices) > 1
        if several:
            # On the replica's own device: whether oneDNN fuses operations, which rounds otherwise, depends on whether
            # their inputs come from another device, and a compiled loop and a single step copy at different places.
            tensors = [tf.identity(each) for each in tensors]
        inputs = self.structure.pack(tensors)
        with contextlib.ExitStack() as stack:
            if several:
                stack.enter_context(replica_collections.replica_scope(self._graph, replica))
            if self.mode != ModeKeys.EXPORT:  # an exported model knows no position, and draws anew in each call
                stack.enter_context(randomness.seeded(self._random_key(replica), positions[0], graph=self._graph))
            names = self._names if replica == 0 else None
            stack.enter_context(self.state.store.scope(self._graph, self._constants, names))
            stack.enter_context(self._current())
            training = self.mode == ModeKeys.TRAIN
            stack.enter_context(keras_training.training_is(training))
            chosen = self.train_step.frozen
            stack.enter_context(keras_batch_norm.frozen(functools.partial(is_frozen, chosen) if chosen else None))
            stack.enter_context(traced_functions.traced_anew(training=training))
            spec = self.model_fn(self.structure.for_model_fn(inputs), self.mode)
            own = (self.state.step, self.state.positions)
            adopt_keras_variables(self._graph, self.state.store, own, training=self.train_step.trains)
            check_spec(spec, None if self.log_values else REQUIRED_FIELDS[self.mode], self.mode)
            losses = tuple(_losses(spec))
            return ReplicaOutput(
                spec=spec,
                losses=losses,
                # Before the updates: the value of a variable is that with which the step began.
                log=self._log(spec),
                outputs=_read(spec.output_info) if self.outputs else {},
                targets=self.train_step.targets_of(spec, losses),
                samples=num_samples(inputs),
            )

    def _log(self, spec: ModelSpec) -> LogTensors:
        values = self.log_values(spec) if self.log_values else spec.log_info
        log = log_tensors(values or {}, self._graph, self.state.store.locals_of(self._graph))
        for name, scalar in log.scalars.items():
            check_scalar(scalar, name if self.log_values else f"log_info[{name!r}]")
        return log

    def _store_scope(self) -> contextlib.AbstractContextManager[None]:
        return self.state.store.scope(self._graph, self._constants, self._names)

    def _random_key(self, replica: int) -> str:
        """Return what the random numbers of a replica depend on: no two of all workers draw the same."""
        key = f"{self.state.seed}/{self.mode}/model"
        number = self.replicator.collective.rank * len(self.replicator.devices) + replica
        return f"{key}/{number}" if number else key

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """Make `get_collection` read this graph."""
        token = _graph.set(self._graph)
        try:
            yield
        finally:
            _graph.reset(token)


def _exported(spec: ModelSpec) -> list[Any]:
    return [] if spec.export_spec is None else list(spec.export_spec.outputs_dict.values())


def _read(values: Mapping[str, Any] | None) -> dict[str, tf.Tensor]:
    return {name: tf.convert_to_tensor(value) for name, value in (values or {}).items()}


def _losses(spec: ModelSpec) -> list[Loss]:
    tensors = spec.loss if isinstance(spec.loss, (list, tuple)) else [] if spec.loss is None else [spec.loss]
    names = {id(tensor): name for name, tensor in (spec.log_info or {}).items()}
    plain = ["loss"] if len(tensors) == 1 else [f"loss[{number}]" for number in range(len(tensors))]
    return [Loss(names.get(id(tensor), name), tensor) for tensor, name in zip(tensors, plain, strict=True)]
