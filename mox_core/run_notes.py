"""When the runs of a training began and ended, how, and with what: the file `runs.json` of log_dir."""

from __future__ import annotations

import contextlib
import json
import logging
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

FILE: Final = "runs.json"
"""The file in log_dir: a list with an object for each run of the training, the last one last."""


def read(log_dir: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the notes on the runs of a folder, each a dict; none where there are none.

    'begun' and 'ended' are times in UTC; a run that was killed, or is going on, has no 'ended'. 'first_step' and
    'last_step' are global steps, 'stopped_by' is that of `mox.RunResult` or the class of the error that ended the run.
    'arguments', 'flags', 'versions' and 'machine' are dicts of numbers and texts.
    """
    try:
        found = json.loads((Path(log_dir) / FILE).read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, ValueError):
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


@define
class RunNotes:
    """The notes on a run that is going on.

    Attributes:
        path: the file; None for none.
        is_ours: whether the folder is still that of this run: what stands there otherwise is another's.
    """

    path: Path | None
    is_ours: Callable[[], bool]
    _runs: list[dict[str, Any]] = field(factory=list, init=False)

    @contextlib.contextmanager
    def noting(self) -> Iterator[RunNotes]:
        """Note an error that ends the block, where that can be written: the error is what is to be said."""
        try:
            yield self
        except BaseException as error:
            self._end({"stopped_by": type(error).__name__}, quiet=True)
            raise

    def begin(self, first_step: int, facts: Callable[[], Mapping[str, Any]]) -> None:
        """Note that a run begins; those before it stay where it goes on with their training.

        Args:
            first_step: the global step of its first step.
            facts: returns what else is noted.
        """
        if self.path is None:
            return
        earlier = read(self.path.parent) if first_step else []
        self._runs = [*earlier, {"begun": _now(), "first_step": first_step, **facts()}]
        self._write()

    def end(self, last_step: int, stopped_by: str) -> None:
        """Note that the run ends.

        Args:
            last_step: the global step of its weights.
            stopped_by: what ends it.
        """
        self._end({"stopped_by": stopped_by, "last_step": last_step})

    def _end(self, how: Mapping[str, Any], *, quiet: bool = False) -> None:
        if self._runs and "ended" not in self._runs[-1]:
            self._runs[-1] |= {"ended": _now(), **how}
            self._write(quiet=quiet)

    def _write(self, *, quiet: bool = False) -> None:
        if self.path is None or not self.is_ours():
            return
        new = self.path.with_name(f".{self.path.name}")
        try:
            new.write_text(json.dumps(self._runs, indent=1, default=str) + "\n", encoding="utf-8")
            new.replace(self.path)
        except OSError as error:  # the run is worth more than a note on it
            with contextlib.suppress(OSError):
                new.unlink()
            if not quiet:
                logging.getLogger("tensorflow").warning("%r is not written: %s.", str(self.path), error)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")
