"""What a run has logged, as records: in memory, and in a file of log_dir that the next run goes on with."""

from __future__ import annotations

import importlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, overload

from attrs import define, field, frozen

from mox_core.errors import UsageError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

FILE: Final = "history.jsonl"
"""The file in log_dir: a line of JSON for each record."""

VALIDATION: Final = "VALIDATION"
_BEST: Final = "BEST"
_SPENT: Final = "SPENT"
_NOT_LOGGED: Final = frozenset({_BEST, _SPENT})
"""Modes of records that the file has besides those of a history."""


@frozen
class History(Sequence["dict[str, Any]"]):
    """The lines of the log and the validations of a training, from its first run on, in their order.

    Each record is a dict: 'step', the global step with which the step was run; 'mode', the mode of the run, or
    'VALIDATION'; and the values by their names: those of `log_info`, 'learning_rate', 'sample/sec'; in validations
    those that the hook monitors.

    Example:
        losses = [record["loss"] for record in result.history.of("TRAIN")]
        result.history.to_pandas().plot(x="step", y="loss")
    """

    records: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[dict[str, Any], ...]: ...

    def __getitem__(self, index: int | slice) -> dict[str, Any] | tuple[dict[str, Any], ...]:
        return self.records[index]

    def __repr__(self) -> str:
        return f"History({len(self)} records)"

    def of(self, mode: str) -> list[dict[str, Any]]:
        """Return the records of a mode: 'TRAIN', 'EVAL', 'PREDICT' or 'VALIDATION'."""
        return [record for record in self.records if record["mode"] == mode]

    def to_pandas(self) -> Any:
        """Return a pandas.DataFrame with a row for each record.

        Raises:
            UsageError: if pandas is not installed.
        """
        try:
            pandas = importlib.import_module("pandas")  # the user's own
        except ImportError as error:
            raise UsageError("history.to_pandas() needs pandas: pip install pandas") from error
        return pandas.DataFrame(list(self.records))


@frozen
class Best:
    """The best validation of a training, as the hook that stops it saw it.

    Attributes:
        step: the global step with which the step before it was run, as in the log.
        metrics: its values by their names.
        checkpoint: the prefix of the weights that it saw, None where they are not kept.
    """

    step: int
    metrics: dict[str, Any]
    checkpoint: str | None


@frozen
class Spent:
    """Time in which a training did not train.

    Attributes:
        step: the global step with which the step before it was run.
        on: 'validation' or 'save'.
        seconds: how long it took.
    """

    step: int
    on: str
    seconds: float


def read(log_dir: str | os.PathLike[str]) -> History:
    """Return what the runs of a folder have logged; nothing where there is no file."""
    return _history(_read(Path(log_dir) / FILE))


def unread_lines(log_dir: str | os.PathLike[str]) -> list[int]:
    """Return the numbers of the lines that are no records, from 1 on: the end of one that a kill has cut off, say."""
    return _read_file(Path(log_dir) / FILE)[1]


def read_spent(log_dir: str | os.PathLike[str]) -> list[Spent]:
    """Return what the runs of a folder have spent on saves and validations; nothing where there is no file."""
    found = [record for record in _read(Path(log_dir) / FILE) if record["mode"] == _SPENT]
    return [Spent(each["step"], str(each.get("on")), float(each.get("seconds", 0))) for each in found]


def read_best(log_dir: str | os.PathLike[str]) -> Best | None:
    """Return the best validation of a folder, as a hook that stops trainings saw it; None without one."""
    return _best(_read(Path(log_dir) / FILE))


@define
class Recorder:
    """Adds records to a history.

    Attributes:
        mode: the mode of the run.
        path: the file; None for none.
        tell: is called with the step, the mode and the values of each record.
    """

    mode: str
    path: Path | None
    tell: Callable[[int, str, dict[str, Any]], None] = field(default=lambda *_: None)
    _records: list[dict[str, Any]] = field(factory=list, init=False)
    _failed: bool = field(default=False, init=False)

    def go_on_from(self, step: int) -> None:
        """Take over what earlier runs have recorded before a step; what they did after it is done again."""
        if self.path is None:
            return
        found, unread = _read_file(self.path)
        self._records = [record for record in found if record["step"] < step]
        if self._records != found or unread or not step:  # a line without its end would take the next one with it
            self._write("w", self._records)

    def add(self, step: int, values: Mapping[str, Any], *, validation: bool = False) -> None:
        """Add a record."""
        mode, plain = VALIDATION if validation else self.mode, plain_values(values)
        self._append({"step": step, "mode": mode, **plain})
        self.tell(step, mode, plain)

    def note_best(self, step: int, checkpoint: str | None) -> None:
        """Note that the validation after a step was the best so far."""
        self._append({"step": step, "mode": _BEST, "checkpoint": checkpoint})

    def spend(self, step: int, on: str, seconds: float) -> None:
        """Note what was spent on a validation or a save behind a step."""
        self._append({"step": step, "mode": _SPENT, "on": on, "seconds": round(seconds, 3)})

    def history(self) -> History:
        """Return all records."""
        return _history(self._records)

    def validation(self) -> dict[str, Any]:
        """Return the values of the last validation; none where there was none."""
        found = [record for record in self._records if record["mode"] == VALIDATION]
        return _validation_at(found[-1]["step"], found) if found else {}

    def best(self) -> Best | None:
        """Return the best validation; None where no hook has judged one."""
        return _best(self._records)

    def _append(self, record: dict[str, Any]) -> None:
        self._records.append(record)
        self._write("a", [record])

    def _write(self, mode: str, records: list[dict[str, Any]]) -> None:
        if self.path is None or self._failed:
            return
        try:
            new = self.path if mode == "a" else self.path.with_name(f".{self.path.name}")
            with new.open(mode, encoding="utf-8") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
            if new != self.path:
                new.replace(self.path)
        except OSError as error:  # the log has them, too
            self._failed = True
            logging.getLogger("tensorflow").warning("the history is not written into %r: %s.", str(self.path), error)


def _history(records: Sequence[dict[str, Any]]) -> History:
    return History(tuple(record for record in records if record["mode"] not in _NOT_LOGGED))


def _best(records: Sequence[dict[str, Any]]) -> Best | None:
    noted = [record for record in records if record["mode"] == _BEST]
    if not noted:
        return None
    step = noted[-1]["step"]
    return Best(step, _validation_at(step, records), noted[-1].get("checkpoint"))


def _validation_at(step: int, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for record in records:
        if record["mode"] == VALIDATION and record["step"] == step:  # hooks may monitor different values
            values |= {name: value for name, value in record.items() if name not in {"step", "mode"}}
    return values


def _read(path: Path) -> list[dict[str, Any]]:
    return _read_file(path)[0]


def _read_file(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the records of a file, and the numbers of the lines that are none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return [], []
    found = [_record(line) for line in text.splitlines()]
    unread = [number for number, record in enumerate(found, start=1) if record is None]
    return [record for record in found if record is not None], unread


def _record(line: str) -> dict[str, Any] | None:
    """Return the record of a line; None for one that was cut off when its process was killed."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    complete = isinstance(record, dict) and isinstance(record.get("step"), int) and isinstance(record.get("mode"), str)
    return record if complete else None


def plain_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as JSON has them: lists for arrays, None for what is not finite."""
    return {name: _plain_value(getattr(value, "tolist", lambda value=value: value)()) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain_value(each) for each in value]
    number = float(value)
    return number if math.isfinite(number) else None
