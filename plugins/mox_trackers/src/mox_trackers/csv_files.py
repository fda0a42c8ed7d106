"""Runs as files of comma-separated values in log_dir."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, Final

from mox_core.errors import UsageError
from mox_core.trackers import TrackedRun, Tracker
from mox_trackers.values import configuration, numbers, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_FIRST: Final = ["step", "mode"]


class CsvFiles(Tracker):
    """Writes `metrics.csv`, a row for each record, and `run.csv`, names and values of all else.

    A column is added when a value appears for the first time. A resumed training goes on with the rows before its first
    step. Other runs in the folder have files of their own: `eval-1200.csv` is an evaluation of global step 1200.
    """

    def start(self, run: TrackedRun) -> str:
        """Write what is known so far.

        Raises:
            UsageError: without log_dir.
        """
        if run.folder is None or run.log_dir is None:
            raise UsageError("it writes into log_dir, and the run has none: pass log_dir to mox.run")
        prefix = "" if run.mode == "TRAIN" else f"{run.mode.lower()}-{run.first_step}-"
        name = f"{prefix}metrics.csv" if not prefix else f"{prefix.removesuffix('-')}.csv"
        self._metrics = _Rows(run.folder / name, [_row(*split(record)) for record in run.history])
        told = {"id": run.id, "name": run.name, **configuration(run)}
        told |= {f"versions/{name}": version for name, version in run.versions.items()}
        self._run = _Rows(
            run.folder / f"{prefix}run.csv", [{"name": key, "value": value} for key, value in told.items()]
        )
        return f"{run.log_dir}/{name}"

    def record(self, step: int, mode: str, values: Mapping[str, Any]) -> None:
        """Add a row."""
        self._metrics.add(_row(step, mode, values))

    def artifact(self, kind: str, path: str, place: str) -> None:
        """Add where it is."""
        del path
        self._run.add({"name": kind, "value": place})

    def finish(self, status: str) -> None:
        """Add how the run ended."""
        self._run.add({"name": "status", "value": status})


def _row(step: int, mode: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {"step": step, "mode": mode, **numbers(values)}


class _Rows:
    """A file whose rows may bring columns that it did not have."""

    def __init__(self, path: Path, rows: Iterable[dict[str, Any]]) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = list(rows)
        self._columns: list[str] = []
        self._take(self._rows)
        self._write_all()

    def add(self, row: dict[str, Any]) -> None:
        """Write a row."""
        self._rows.append(row)
        if self._take([row]):
            self._write_all()
            return
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.DictWriter(file, self._columns).writerow(row)

    def _take(self, rows: Iterable[dict[str, Any]]) -> bool:
        new = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in self._columns]
        self._columns += new
        return bool(new)

    def _write_all(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_name(f".{self._path.name}")
        with new.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self._columns)
            if self._columns:
                writer.writeheader()
            writer.writerows(self._rows)
        new.replace(self._path)
