"""The account of steps that several workers run at the same time: none too many, and none that is not counted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Mapping


@define(eq=False)
class Assignment:
    """Steps that were assigned to a worker together.

    Attributes:
        steps: how many at most.
    """

    steps: int


@define(eq=False)
class StepLedger:
    """What has been assigned to workers, and what has come back.

    A worker that has died may have run any number of its steps. All of them count as run, until the global step can be
    read at a moment at which nothing is under way: so there is never a step too many.

    Attributes:
        limit: how many steps the run may do, None for any number.
        reserve: how many of them are the chief's, as the last ones: hooks want to see them.
        samples: how many samples the steps saw.
        ended: the workers whose input has ended.
        error: what an assignment has failed with.
    """

    limit: int | None
    reserve: int = 1
    samples: int = 0
    ended: set[int] = field(factory=set)
    error: Exception | None = None
    _done: int = field(default=0, init=False)
    _lost: int = field(default=0, init=False)
    _under_way: set[Assignment] = field(factory=set, init=False)
    _results: list[Mapping[str, Any]] = field(factory=list, init=False)
    _closed: bool = field(default=False, init=False)
    _changed: threading.Condition = field(factory=threading.Condition, init=False)

    def take(self, wanted: int) -> Assignment | None:
        """Wait until there are steps to run, and assign some; None when there will be none any more."""
        with self._changed:
            while not self._closed:
                if assignment := self._assign(wanted, self.reserve):
                    return assignment
                self._changed.wait()
            return None

    def take_own(self, wanted: int) -> Assignment | None:
        """Assign steps to the chief, which may take the last ones; None if there are none now."""
        with self._changed:
            return self._assign(wanted, self.reserve if self._under_way else 0)

    def account(self, assignment: Assignment, result: Mapping[str, Any]) -> None:
        """Count the steps of an assignment.

        Args:
            assignment: what was assigned.
            result: what `CompiledLoop.build` returns, 'worker', and 'fresh': whether nobody had begun the assignment
                before.
        """
        with self._changed:
            if assignment not in self._under_way:
                return  # it was given up
            self._under_way.remove(assignment)
            if result["fresh"]:
                self._done += int(result["done"])
                self.samples += int(result["samples"])
                self._results.append(result)
                if not result["more"]:
                    self.ended.add(int(result["worker"]))
            else:
                self._lost += assignment.steps
            self._changed.notify_all()

    def fail(self, assignment: Assignment, error: Exception) -> None:
        """Keep the error of an assignment, and assign nothing any more."""
        with self._changed:
            self._under_way.discard(assignment)
            self.error = self.error or error
            self._closed = True
            self._changed.notify_all()

    def give_up(self) -> None:
        """Count everything that is under way as lost: nobody is left who could do it."""
        with self._changed:
            self._lost += sum(assignment.steps for assignment in self._under_way)
            self._under_way.clear()
            self._changed.notify_all()

    def reconcile(self, done: int) -> None:
        """Replace the count by the steps that the global step tells, if something is lost and nothing under way."""
        with self._changed:
            if self._lost and not self._under_way:
                self._done, self._lost = done, 0
                self._changed.notify_all()

    def keep_nothing(self) -> None:
        """Assign the last steps to the other workers too: the chief's own input has ended."""
        with self._changed:
            self.reserve = 0
            self._changed.notify_all()

    def close(self) -> None:
        """Assign nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Wait until nothing is under way; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._under_way, seconds)

    def news(self) -> list[Mapping[str, Any]]:
        """Return the results that have come back since the last call."""
        with self._changed:
            results, self._results = self._results, []
            return results

    def _assign(self, wanted: int, reserve: int) -> Assignment | None:
        count = wanted
        if self.limit is not None:
            under_way = sum(assignment.steps for assignment in self._under_way)
            count = min(wanted, self.limit - self._done - self._lost - under_way - reserve)
        if count <= 0:
            return None
        assignment = Assignment(count)
        self._under_way.add(assignment)
        return assignment
