"""Trackers: where a run is kept beside its log_dir, as in MLflow, W&B or a file of one's own.

Each tracker works in a thread of its own, so that a server that is slow holds up no step. The rule to keep: a tracker
that fails never ends a run. It is left out, with one warning that names it.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from mox_core.errors import MoxError, UsageError
from mox_core.plugins import loader
from mox_core.plugins.offers import TrackerOffer, import_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

FINISHED: Final = "finished"
INTERRUPTED: Final = "interrupted"
FAILED: Final = "failed"

_PATIENCE: Final = {FINISHED: 600.0, INTERRUPTED: 20.0, FAILED: 20.0}
"""Seconds that a run waits at its end for a tracker to send what it has; what ends a job gives it half a minute."""


@frozen(kw_only=True)
class TrackedRun:
    """What a tracker is told of a run when it starts.

    Attributes:
        id: 32 letters and digits that stand for the training; a resumed one has those of its beginning.
        name: the name of log_dir, or of the script.
        mode: TRAIN, EVAL or PREDICT.
        log_dir: the folder of the run, or its URL on a store; None without one.
        folder: the folder on this machine; None without one.
        memory: a folder in it where trackers keep files of their own from a run to the next that resumes it. It is made
            by the tracker that needs it. None without log_dir.
        resumed: whether the run goes on with a training that has been tracked.
        first_step: the global step with which it begins.
        history: the records of earlier runs of the training, as in `history.jsonl`.
        arguments: those of `mox.run`, as JSON has them: a function by its name.
        flags: mox's flags, by their names.
        versions: the versions of Python, mox-core, TensorFlow, Keras and NumPy.
    """

    id: str
    name: str
    mode: str
    log_dir: str | None
    folder: Path | None
    memory: Path | None
    resumed: bool
    first_step: int
    history: tuple[Mapping[str, Any], ...]
    arguments: Mapping[str, Any]
    flags: Mapping[str, Any]
    versions: Mapping[str, str]


class Tracker:
    """The base class of trackers, whose methods do nothing.

    They are called in one thread, which is not the run's; a tracker is made in that of the run. An exception leaves the
    tracker out of the rest of the run, with a warning that shows its text.
    """

    def start(self, run: TrackedRun) -> str | None:
        """Begin, and return where the run can be looked at, for the log; None for nowhere."""
        del run
        return None

    def record(self, step: int, mode: str, values: Mapping[str, Any]) -> None:
        """Take a line of the log (mode 'TRAIN'), a validation ('VALIDATION') or the means of an evaluation ('EVAL').

        Args:
            step: the global step.
            mode: which of them it is.
            values: numbers by their names: None for one that is not finite, lists for arrays.
        """

    def artifact(self, kind: str, path: str, place: str) -> None:
        """Take what the run has left: a checkpoint, and each exported model.

        Args:
            kind: 'checkpoint' or 'export'.
            path: the prefix of the checkpoint, or the folder of the exported model, on this machine.
            place: the same as the user knows it: a URL where log_dir is on a store.
        """

    def finish(self, status: str) -> None:
        """End.

        Args:
            status: 'finished'; 'interrupted' where a signal ended the run; 'failed' where an error did.
        """


@frozen
class Choice:
    """A tracker that a run is to have.

    Attributes:
        name: what the user wrote, or the name of the function.
        make: returns the tracker.
    """

    name: str
    make: Callable[[], Tracker]


def choose(given: object, flag: str) -> tuple[Choice, ...]:
    """Return the trackers of an argument of `mox.run` and those of the flag `trackers`, each once.

    Raises:
        UsageError: if the argument is no list of names and functions.
        UnknownNameError: if no plugin offers a name, or more than one does.
        PluginError: if what stands for a name cannot be imported.
    """
    wanted = [] if given is None else given
    if not isinstance(wanted, (list, tuple)):
        example = f"trackers=[{given!r}]" if isinstance(given, str) else "trackers=['csv']"
        raise UsageError(f"trackers is {given!r}; it must be a list of names: {example}.")
    choices = [_choice(each) for each in [*wanted, *filter(None, map(str.strip, flag.split(",")))]]
    return tuple(choice for number, choice in enumerate(choices) if choice not in choices[:number])


def _choice(wanted: object) -> Choice:
    if isinstance(wanted, str) and wanted:
        return Choice(wanted, import_target(loader.installed_plugins().find(TrackerOffer, wanted)))
    if callable(wanted):
        return Choice(getattr(wanted, "__name__", type(wanted).__name__), wanted)
    known = ", ".join(map(repr, loader.installed_plugins().names(TrackerOffer))) or "none"
    own = f", not the tracker: trackers=[lambda: {type(wanted).__name__}(...)]" if isinstance(wanted, Tracker) else ""
    raise UsageError(
        f"trackers holds {wanted!r}; it must be a name (known: {known}), or a function that returns a tracker{own}."
    )


class Tracking:
    """The trackers of a run, which get what happens in its order; without any, it does nothing."""

    def __init__(self, choices: Iterable[Choice] = ()) -> None:
        """Make what calls the trackers, which `start` starts."""
        self._fed = [_Fed(choice) for choice in choices]

    def start(self, run: TrackedRun) -> None:
        """Start the trackers."""
        for fed in self._fed:
            fed.start(run)

    def record(self, step: int, mode: str, values: Mapping[str, Any]) -> None:
        """Hand a record over."""
        for fed in self._fed:
            fed.call(lambda tracker: tracker.record(step, mode, values))

    def artifact(self, kind: str, path: str, place: str) -> None:
        """Hand over what the run has left."""
        for fed in self._fed:
            fed.call(lambda tracker: tracker.artifact(kind, path, place))

    def finish(self, status: str) -> None:
        """End the trackers, and wait until they are done, or long enough."""
        for fed in self._fed:
            fed.call(lambda tracker: tracker.finish(status))
            fed.call(None)
        until = time.monotonic() + _PATIENCE[status]
        for fed in self._fed:
            fed.wait(until)


class _Fed:
    """A tracker, and the thread in which it is made and called."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self._calls: queue.SimpleQueue[Callable[[Tracker], object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=f"mox-tracker-{choice.name}", daemon=True)
        with self._left_out_by_errors():
            self._tracker = choice.make()
            self._thread.start()

    def call(self, call: Callable[[Tracker], object] | None) -> None:
        """Have the thread call something with the tracker, behind what came before; None ends it."""
        if self._thread.is_alive():  # it ends with the first error
            self._calls.put(call)

    def start(self, run: TrackedRun) -> None:
        """Start the tracker, and log where the run can be looked at."""

        def start(tracker: Tracker) -> None:
            if place := tracker.start(run):
                logging.getLogger("tensorflow").info("Tracker %r keeps this run: %s", self._choice.name, place)

        self.call(start)

    def wait(self, until: float) -> None:
        """Wait for the end of the thread."""
        if self._thread.ident is not None:
            self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            logging.getLogger("tensorflow").warning(
                "the tracker %r is not done, and the run ends: what it has not kept yet is lost.", self._choice.name
            )

    def _work(self) -> None:
        with self._left_out_by_errors():
            while (call := self._calls.get()) is not None:
                call(self._tracker)

    @contextlib.contextmanager
    def _left_out_by_errors(self) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit) as error:  # noqa: BLE001  (it is others' code)
            what = str(error) if isinstance(error, MoxError) else f"{type(error).__name__}: {error}"
            logging.getLogger("tensorflow").warning(
                "the tracker %r is left out of the rest of the run: %s", self._choice.name, what
            )
