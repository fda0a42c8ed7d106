"""The account of steps that several workers run at the same time: none too many, and none that is not counted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Mapping


@define(eq=False)
class Call:
    """Some steps that were handed out together.

    Attributes:
        steps: how many at most.
    """

    steps: int


@define(eq=False)
class Ledger:
    """What has been handed out to workers, and what has come back.

    A call whose worker has died may have done any number of its steps. All of them count as done, until the global step
    can be read at a moment at which nothing is under way: so there is never a step too many.

    Attributes:
        limit: how many steps the run may do, None for any number.
        reserve: how many of them are the chief's, as the last ones: hooks want to see them.
        samples: those that the steps saw.
        ended: the workers whose input has ended.
        error: what a call has failed with.
    """

    limit: int | None
    reserve: int = 1
    samples: int = 0
    ended: set[int] = field(factory=set)
    error: Exception | None = None
    _done: int = field(default=0, init=False)
    _lost: int = field(default=0, init=False)
    _under_way: set[Call] = field(factory=set, init=False)
    _results: list[Mapping[str, Any]] = field(factory=list, init=False)
    _closed: bool = field(default=False, init=False)
    _changed: threading.Condition = field(factory=threading.Condition, init=False)

    def take(self, wanted: int) -> Call | None:
        """Waits until there are steps to do, and hands some out; None when there will be none any more."""
        with self._changed:
            while not self._closed:
                if call := self._hand_out(wanted, self.reserve):
                    return call
                self._changed.wait()
            return None

    def take_own(self, wanted: int) -> Call | None:
        """Hands steps out to the chief, which may take the last ones; None if there are none now."""
        with self._changed:
            return self._hand_out(wanted, self.reserve if self._under_way else 0)

    def account(self, call: Call, result: Mapping[str, Any]) -> None:
        """Takes note of what a call has done.

        Args:
            call: what was handed out.
            result: what `remote.run_steps` gives, 'worker', and whether nobody has begun the call before: 'fresh'.
        """
        with self._changed:
            if call not in self._under_way:
                return  # it was given up
            self._under_way.remove(call)
            if result["fresh"]:
                self._done += int(result["done"])
                self.samples += int(result["samples"])
                self._results.append(result)
                if not result["more"]:
                    self.ended.add(int(result["worker"]))
            else:
                self._lost += call.steps
            self._changed.notify_all()

    def fail(self, call: Call, error: Exception) -> None:
        """Takes note that a call has failed, and lets no further one begin."""
        with self._changed:
            self._under_way.discard(call)
            self.error = self.error or error
            self._closed = True
            self._changed.notify_all()

    def give_up(self) -> None:
        """Counts everything that is under way as lost: nobody is left who could do it."""
        with self._changed:
            self._lost += sum(call.steps for call in self._under_way)
            self._under_way.clear()
            self._changed.notify_all()

    def reconcile(self, done: int) -> None:
        """Puts the global step in the place of what is lost, where nothing is under way."""
        with self._changed:
            if self._lost and not self._under_way:
                self._done, self._lost = done, 0
                self._changed.notify_all()

    def keep_nothing(self) -> None:
        """Lets the other workers have the last steps too: the chief's own input has ended."""
        with self._changed:
            self.reserve = 0
            self._changed.notify_all()

    def close(self) -> None:
        """Hands nothing out any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self, seconds: float) -> bool:
        """Waits until nothing is under way; returns whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._under_way, seconds)

    def news(self) -> list[Mapping[str, Any]]:
        """Returns what has come back since the last time."""
        with self._changed:
            results, self._results = self._results, []
            return results

    def _hand_out(self, wanted: int, reserve: int) -> Call | None:
        count = wanted
        if self.limit is not None:
            under_way = sum(call.steps for call in self._under_way)
            count = min(wanted, self.limit - self._done - self._lost - under_way - reserve)
        if count <= 0:
            return None
        call = Call(count)
        self._under_way.add(call)
        return call
