"""The loop of a chief whose workers do not step together.

The chief runs steps of its own, and looks between them at how far all workers are. What an observer or a hook wants to
see at a step, it sees with the first step of the chief that ends when all workers together have got there.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf
from attrs import define, field

from mox_core.engine import far_input, loop
from mox_core.engine.loop import Result, Seen
from mox_core.engine.remote import SECONDS_A_CALL, is_of_lost_worker, run_steps, surviving
from mox_core.engine.steps import Outcome, Steps
from mox_core.errors import NanLossError

if TYPE_CHECKING:
    from mox_core.engine.loop import Observer
    from mox_core.engine.remote import RemoteWorkers

_LOOK_SECONDS: Final = 0.2


@define
class ChiefSteps(Steps):
    """The chief's own steps; its positions are kept beside those of the other workers.

    Attributes:
        workers: the others.
    """

    workers: RemoteWorkers = field(kw_only=True)

    def many(self, count: int) -> Outcome:
        """Runs up to `count` steps in one compiled call."""
        if self._many is None:
            before, number = (tf.TensorSpec(shape, tf.int64) for shape in ([self.workers.pipeline.num_positions], []))
            run = tf.function(lambda *inputs: run_steps(self.workers, self.graph.traced, *inputs), autograph=False)
            self._many = run.get_concrete_function(self.input.iterator, before, number)
        result = self._many(self.input.iterator, self.workers.progress[0], tf.constant(count, tf.int64))
        self.workers.note_position(result["positions"])
        steps, more = int(result["done"]), bool(result["more"])
        self.input.advance(steps)
        values = self.graph.values_of(result["numbers"].numpy(), {}) if steps else None
        return Outcome(steps=steps, samples=int(result["samples"]), values=values, sums={}, ended=not more)

    def one(self, **options: Any) -> Outcome:
        """Runs one step with something special about it."""
        outcome = super().one(**options)
        if outcome.steps and self.last_inputs:
            self.workers.note_position(self.last_inputs[0])
        return outcome


@define
class _Due:
    """The steps that an observer wants to see; one that was passed by is not forgotten.

    Attributes:
        observer: who wants them.
        step: the next of them, None for none.
    """

    observer: Observer
    step: int | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.step = self.observer.next_step(0)

    def taken(self, reached: int) -> int | None:
        """Returns the last one up to `reached`, None if there is none, and goes on behind it."""
        last = None
        while self.step is not None and self.step <= reached:
            last, self.step = self.step, self.observer.next_step(self.step + 1)
        return last


@define(kw_only=True)
class Loop(loop.Loop):
    """Runs steps on all workers until something stops them.

    Attributes:
        steps: what runs the chief's own.
    """

    steps: ChiefSteps
    _dues: list[_Due] = field(init=False)
    _hooks_from: int = field(default=0, init=False)
    _recorded_at: int = field(default=-1, init=False)
    _ended: bool = field(default=False, init=False)
    _chunk: int = field(default=1, init=False)
    _is_compiled: bool = field(default=False, init=False)
    _values: dict[str, Any] | None = field(default=None, init=False)

    @property
    def _workers(self) -> RemoteWorkers:
        return self.steps.workers

    def run(self) -> Result:
        """Runs until the limit, the end of all inputs, a hook or a signal, and says which."""
        self._dues = [_Due(observer) for observer in self.observers]
        with self.hooks.running():
            stopped_by = self._stopped()
            if stopped_by is None:
                self._workers.start()
            try:
                while stopped_by is None:
                    self._run_own()
                    self._look()
                    stopped_by = self._stopped()
                self._settle()
            finally:
                self._workers.ledger.close()
                self._workers.close()
            self.hooks.session.complete = not self.interrupts.received
        for observer in self.observers:
            observer.finish()
        last = {name: float(value) for name, value in (self._values or {}).get("log", {}).items()}
        return Result(
            steps=self._done,
            samples=self._seen_samples(),
            stopped_by=stopped_by,
            interrupted=bool(self.interrupts.received),
            last=last,
            means={},
        )

    def _stopped(self) -> str | None:
        ended = len(self._workers.ledger.ended) == self._workers.order.workers
        return super()._stopped() or ("end of input" if ended else None)

    def _run_own(self) -> None:
        """Runs the chief's own steps up to the next one that somebody wants to see, if there are any for it."""
        hooked = self.hooks.next_step(self._hooks_from)
        recorded = min((due.step for due in self._dues if due.observer.records and due.step is not None), default=None)
        special = min((each for each in (hooked, recorded) if each is not None), default=None)
        is_special = special is not None and special <= self._done
        call = None if self._ended else self._workers.ledger.take_own(1 if is_special else self._share(special))
        if call is None:
            if not self._workers.ledger.wait(_LOOK_SECONDS) and self._workers.all_gone():
                self._workers.give_up()
            return
        try:
            outcome = self._outcome(call.steps, recorded if is_special else None, alone=is_special)
        except tf.errors.OpError as error:
            if not is_of_lost_worker(error):
                raise
            self._workers.ledger.account(call, {"fresh": False})  # the global step tells how far it came
            return
        result = {"done": outcome.steps, "samples": outcome.samples, "more": not outcome.ended}
        self._workers.ledger.account(call, {**result, "fresh": True, "worker": 0})
        if outcome.ended:
            self._ended = True
            self._workers.ledger.keep_nothing()
        if outcome.values is not None:
            self._note(outcome.values, "")

    def _outcome(self, count: int, recorded: int | None, *, alone: bool) -> Outcome:
        if alone:
            return self._special(record=recorded is not None and recorded <= self._done)
        began = time.perf_counter()
        outcome = self.steps.many(count)
        if outcome.steps and self._is_compiled:
            self._chunk = max(1, int(SECONDS_A_CALL * outcome.steps / (time.perf_counter() - began)))
        self._is_compiled = True
        return outcome

    def _share(self, special: int | None) -> int:
        """Returns the chief's part of the steps up to the next one that somebody wants to see."""
        stops = [due.step + 1 for due in self._dues if due.step is not None and not due.observer.records]
        until = min(stops if special is None else [*stops, special], default=tf.int64.max) - self._done
        return max(1, min(-(-until // self._workers.order.workers), self._chunk))

    def _special(self, *, record: bool) -> Outcome:
        """Runs a step with the hooks around it that have wanted one since the last time."""
        step = self._done
        outcome = self.hooks.run(step, self.first_global_step + step, record=record, since=self._hooks_from)
        if outcome.steps:
            self._hooks_from = step + 1
            self._recorded_at = step if record else self._recorded_at
        return outcome

    def _look(self) -> None:
        """Looks at how far all are, and at what has come back."""
        workers = self._workers
        self._hear()
        if workers.ledger.error:
            raise workers.ledger.error
        self._done = surviving(lambda: int(workers.global_step)) - self.first_global_step
        workers.ledger.reconcile(self._done)
        self._show(self._done - 1)
        self.interrupts.received = self.interrupts.received or workers.asked_to_end or None

    def _hear(self) -> None:
        """Looks at the results of other workers."""
        for result in self._workers.ledger.news():
            number = int(result["worker"])
            if not number:
                continue
            self._workers.welcome(number)
            far_input.hear(result, self._workers.pipeline, self._workers.share(number))
            if result["done"]:
                self._note(self.steps.graph.values_of(result["numbers"], {}), f" on worker {number}")

    def _note(self, values: dict[str, Any], where: str) -> None:
        """Takes note of what a step gave: the chief's, or that of others when the chief has no input any more."""
        if not where or self._ended:
            self._values = values
        if bad := self._not_finite(values["losses"]):
            raise NanLossError(
                f"{bad}{where}, at about global step {int(self._workers.global_step)}: training stops, "
                "and its weights are not saved. A lower learning rate, or a look at the input, is the usual way out."
            )

    def _show(self, step: int) -> None:
        """Shows the last step to the observers: as the one that they wanted, if that was reached meanwhile."""
        if self._values is None or step < 0:
            return
        for due in self._dues:
            # Summaries of the model itself are only there of a step that was run for them.
            wanted = due.taken(self._recorded_at if due.observer.records else step)
            shown = step if wanted is None else wanted
            seen = Seen(
                step=shown,
                global_step=self.first_global_step + shown,
                values=self._values,
                samples=self._seen_samples(),
                now=time.perf_counter(),
            )
            surviving(functools.partial(due.observer.see, seen))

    def _seen_samples(self) -> int:
        """Returns how many samples were seen: with batches of one size, also those of a worker that has died."""
        size = self.steps.graph.samples
        return self._workers.ledger.samples if size is None else size * self._done

    def _settle(self) -> None:
        """Waits until nothing is under way, so that the weights stay as they are."""
        workers = self._workers
        workers.ledger.close()
        while not workers.ledger.wait(_LOOK_SECONDS):
            if workers.all_gone():
                workers.give_up()
        self._look()
