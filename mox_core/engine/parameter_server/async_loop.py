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

from mox_core.engine.loop.loop import LoopResult, last_log
from mox_core.engine.loop.observers import Observer, StepReport
from mox_core.engine.loop.stop import not_finite
from mox_core.engine.parameter_server.remote_input import report_remote_gaps
from mox_core.engine.parameter_server.remote_workers import SECONDS_PER_CALL, retry_after_worker_loss
from mox_core.engine.tf_internals.error_messages import lost_worker
from mox_core.errors import NanLossError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mox_core.engine.hooks.hook_runner import HookRunner
    from mox_core.engine.loop.stop import StopRule
    from mox_core.engine.model.step_runner import Outcome, StepRunner
    from mox_core.engine.parameter_server.remote_workers import RemoteWorkers

_POLL_SECONDS: Final = 0.2

_SECONDS_TO_LEAVE: Final = 60.0
"""A call takes a second, and some more where the worker compiles it; an error is not held back for longer."""


@define
class _DueSteps:
    """The steps that an observer wants to see; one that was passed by is not forgotten.

    Attributes:
        observer: who wants them.
        step: the next of them, None for none.
    """

    observer: Observer
    step: int | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.step = self.observer.next_step(0)

    def take(self, reached: int) -> int | None:
        """Return the last one up to `reached`, None if there is none, and go on behind it."""
        last = None
        while self.step is not None and self.step <= reached:
            last, self.step = self.step, self.observer.next_step(self.step + 1)
        return last


@define(kw_only=True)
class AsyncLoop:
    """The loop of steps on all workers.

    Attributes:
        steps: runs the chief's own.
        workers: the other workers.
        hooks: the session hooks.
        observers: what is done after steps, in this order.
        stop_rule: what stops the loop beside the end of all inputs.
        first_global_step: the global step of local step 0.
    """

    steps: StepRunner
    workers: RemoteWorkers
    hooks: HookRunner
    observers: Sequence[Observer]
    stop_rule: StopRule
    first_global_step: int
    _done: int = field(default=0, init=False)
    _due: list[_DueSteps] = field(init=False)
    _hooks_from: int = field(default=0, init=False)
    _recorded_at: int = field(default=-1, init=False)
    _ended: bool = field(default=False, init=False)
    _chunk: int = field(default=1, init=False)
    _is_compiled: bool = field(default=False, init=False)
    _values: dict[str, Any] | None = field(default=None, init=False)

    def run(self) -> LoopResult:
        """Run until the limit, the end of all inputs, a hook or a signal, and return which it was."""
        self._due = [_DueSteps(observer) for observer in self.observers]
        with self.hooks.running():
            stopped_by = self._stop_reason()
            if stopped_by is None:
                self.workers.start()
            try:
                while stopped_by is None:
                    self._run_own()
                    self._poll()
                    stopped_by = self._stop_reason()
                self._settle()
            except Exception:
                self._leave()
                raise
            finally:
                self.workers.ledger.close()
                self.workers.close()
            interrupted = self.stop_rule.interrupted
            self.hooks.session.complete = not interrupted
        for observer in self.observers:
            observer.finish()
        return LoopResult(
            steps=self._done,
            samples=self._num_samples(),
            stopped_by=stopped_by,
            interrupted=interrupted,
            last=last_log(self._values, self.steps.graph.metrics),
            means={},
        )

    def _stop_reason(self) -> str | None:
        ended = len(self.workers.ledger.ended) == self.workers.order.workers
        return self.stop_rule.reason(self._done) or ("end of input" if ended else None)

    def _run_own(self) -> None:
        """Run the chief's own steps up to the next one that somebody wants to see, if there are any for it."""
        hooked = self.hooks.next_step(self._hooks_from)
        recorded = min((due.step for due in self._due if due.observer.records and due.step is not None), default=None)
        special = min((each for each in (hooked, recorded) if each is not None), default=None)
        is_special = special is not None and special <= self._done
        record = recorded is not None and recorded <= self._done
        ledger = self.workers.ledger
        assignment = None if self._ended else ledger.take_own(1 if is_special else self._share(special))
        if assignment is None:
            if not ledger.wait(_POLL_SECONDS) and self.workers.all_gone():
                self.workers.give_up()
            return
        try:
            if hooked is not None and hooked <= self._done:
                outcome = self._run_hooks(record=record)
            else:
                outcome = self._run_loop(assignment.steps, record=record)
        except Exception as error:
            ledger.account(assignment, {"fresh": False})  # the global step tells how far it came
            if not lost_worker(error):
                raise
            return
        result = {"done": outcome.steps, "samples": outcome.samples, "more": not outcome.ended}
        ledger.account(assignment, {**result, "fresh": True, "worker": 0})
        if outcome.ended:
            self._ended = True
            ledger.keep_nothing()
        if outcome.values is not None:
            self._keep_values(outcome.values, "")

    def _run_loop(self, count: int, *, record: bool) -> Outcome:
        """Run steps of the chief that no hook wants to see."""
        began = time.perf_counter()
        outcome = self.steps.run_loop(count, record=record)
        if outcome.steps and self._is_compiled:
            self._chunk = max(1, int(SECONDS_PER_CALL * outcome.steps / (time.perf_counter() - began)))
        self._is_compiled = True
        self._note_record(outcome, record=record)
        return outcome

    def _share(self, special: int | None) -> int:
        """Return the chief's part of the steps up to the next one that somebody wants to see."""
        stops = [due.step + 1 for due in self._due if due.step is not None and not due.observer.records]
        until = min(stops if special is None else [*stops, special], default=tf.int64.max) - self._done
        return max(1, min(-(-until // self.workers.order.workers), self._chunk))

    def _run_hooks(self, *, record: bool) -> Outcome:
        """Run a step with the hooks around it that have wanted one since the last time."""
        step = self._done
        outcome = self.hooks.run(step, self.first_global_step + step, record=record, since=self._hooks_from)
        if outcome.steps:
            self._hooks_from = step + 1
        self._note_record(outcome, record=record)
        return outcome

    def _note_record(self, outcome: Outcome, *, record: bool) -> None:
        if outcome.steps and record:
            self._recorded_at = self._done

    def _poll(self) -> None:
        """Look at how far all workers are, and at what has come back."""
        self._handle_results()
        if self.workers.ledger.error:
            raise self.workers.ledger.error
        self._done = retry_after_worker_loss(lambda: int(self.workers.global_step)) - self.first_global_step
        self.workers.ledger.reconcile(self._done)
        self._report(self._done - 1)

    def _handle_results(self) -> None:
        """Handle the results of other workers."""
        for result in self.workers.ledger.news():
            number = int(result["worker"])
            if not number:
                continue
            self.workers.log_return(number)
            report_remote_gaps(result, self.workers.pipeline, self.workers.order_of(number))
            if result["done"]:
                self._keep_values(self.steps.graph.values_of(result["numbers"], {}), f" on worker {number}")

    def _keep_values(self, values: dict[str, Any], where: str) -> None:
        """Keep the results of a step: the chief's, or those of others when the chief has no input any more."""
        if not where or self._ended:
            self._values = values
        if bad := not_finite(self.steps.graph.losses, values["losses"]):
            raise NanLossError(
                f"{bad}{where}, at about global step {int(self.workers.global_step)}: training stops, "
                "and its weights are not saved. A lower learning rate, or a look at the input, is the usual way out."
            )

    def _report(self, step: int) -> None:
        """Report the last step to the observers: as the one that they wanted, if that was reached meanwhile."""
        if self._values is None or step < 0:
            return
        for due in self._due:
            # Summaries of the model itself are only there of a step that was run for them.
            wanted = due.take(self._recorded_at if due.observer.records else step)
            shown = step if wanted is None else wanted
            report = StepReport(
                step=shown,
                global_step=self.first_global_step + shown,
                values=self._values,
                samples=self._num_samples(),
                now=time.perf_counter(),
                metrics=self.steps.graph.metrics,
            )
            retry_after_worker_loss(functools.partial(due.observer.after_step, report))

    def _num_samples(self) -> int:
        """Return how many samples were seen: with batches of one size, also those of a worker that has died."""
        size = self.steps.graph.samples
        return self.workers.ledger.samples if size is None else size * self._done

    def _settle(self) -> None:
        """Wait until nothing is under way, so that the weights stay as they are."""
        self.workers.ledger.close()
        while not self.workers.ledger.wait(_POLL_SECONDS):
            if self.workers.all_gone():
                self.workers.give_up()
        self._poll()

    def _leave(self) -> None:
        """Wait until nothing is under way after an error: the next run of this process is to know nothing of it.

        Calls that go on when the run has ended fail, for want of what it has closed, and TensorFlow would raise their
        errors in the next run.
        """
        self.workers.ledger.close()
        end = time.monotonic() + _SECONDS_TO_LEAVE
        while not self.workers.ledger.wait(_POLL_SECONDS):
            if self.workers.all_gone() or self.workers.servers.gone_servers() or time.monotonic() > end:
                return
        self.workers.forget_errors()
