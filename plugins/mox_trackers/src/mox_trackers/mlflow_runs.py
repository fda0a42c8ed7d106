"""Runs in MLflow."""

from __future__ import annotations

import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from mox_core.trackers import TrackedRun, Tracker
from mox_trackers.values import below, configuration, module, numbers, split

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_INSTALL: Final = "mlflow-skinny (or mlflow)"
_MEMORY: Final = "mlflow.json"
_FORBIDDEN: Final = re.compile(r"[^\w\-./ ]")  # in the names of MLflow's metrics and parameters
_LONGEST: Final = 500  # characters of a parameter, which every server takes
_AT_ONCE: Final = 100  # parameters or tags, likewise
_STATUS: Final = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}


class MlflowRuns(Tracker):
    """Keeps a run where MLflow is set to keep runs, as by `MLFLOW_TRACKING_URI` and `MLFLOW_EXPERIMENT_NAME`.

    Metrics are called 'train/loss', 'validation/loss', 'eval/loss'. An exported model is uploaded; where the checkpoint
    is stands in the tag 'checkpoint'. A resumed training goes on in its run. Within `with mlflow.start_run():` of the
    script all goes into that run, which the script ends.
    """

    def __init__(self) -> None:
        """Look for a run that the script has begun, which MLflow shows to the script's thread only."""
        begun = getattr(sys.modules.get("mlflow"), "active_run", lambda: None)()
        self._number: str = begun.info.run_id if begun is not None else ""
        self._is_ours = begun is None
        self._names: dict[str, str] = {}
        self._places: dict[str, list[str]] = {}
        self._folder: Path | None = None

    def start(self, run: TrackedRun) -> str:
        """Begin a run, or go on with that of the training."""
        self._mlflow = module("mlflow", install=_INSTALL)
        self._entities = module("mlflow.entities", install=_INSTALL)
        self._client = self._mlflow.MlflowClient()
        self._folder = run.folder
        known = _remembered(run)
        if self._is_ours:  # in this thread, which has an active run of its own
            self._number = self._mlflow.start_run(run_id=known, run_name=None if known else run.name).info.run_id
            _remember(run, self._number)
        self._describe(run)
        if known != self._number:
            for record in run.history:
                self.record(*split(record))
        return f"run {self._number} in {self._mlflow.get_tracking_uri()}"

    def record(self, step: int, mode: str, values: Mapping[str, Any]) -> None:
        """Log metrics."""
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(self._name(f"{mode.lower()}/{name}"), number, now, step)
            for name, number in numbers(values).items()
        ]
        for some in _parts(metrics):
            self._client.log_batch(self._number, metrics=some)

    def artifact(self, kind: str, path: str, place: str) -> None:
        """Note where it is, and upload an exported model."""
        self._places.setdefault(kind, []).append(place)
        self._client.set_tag(self._number, kind, ", ".join(self._places[kind]))
        if kind == "export":
            self._client.log_artifacts(self._number, path, f"{kind}/{below(path, self._folder)}")

    def finish(self, status: str) -> None:
        """End the run."""
        if self._is_ours:
            self._mlflow.end_run(_STATUS[status])

    def _describe(self, run: TrackedRun) -> None:
        """Log the configuration; what a resumed run has otherwise, as parameters stay what they are, in tags."""
        before = self._client.get_run(self._number).data.params
        told = {self._name(name): str(value)[:_LONGEST] for name, value in configuration(run).items()}
        params = [self._entities.Param(name, value) for name, value in told.items() if name not in before]
        changed = {f"resumed/{name}": value for name, value in told.items() if before.get(name, value) != value}
        tags = {"mox.id": run.id, **{f"versions/{name}": version for name, version in run.versions.items()}, **changed}
        for some in _parts(params):
            self._client.log_batch(self._number, params=some)
        for some in _parts([self._entities.RunTag(name, value) for name, value in tags.items()]):
            self._client.log_batch(self._number, tags=some)

    def _name(self, name: str) -> str:
        """Return a name that MLflow takes, another one for each name."""
        if name not in self._names:
            plain = allowed = _FORBIDDEN.sub("_", name).strip("/") or "_"
            count = 1
            while allowed in self._names.values():
                count += 1
                allowed = f"{plain}_{count}"
            self._names[name] = allowed
        return self._names[name]


def _parts(entities: list[Any]) -> Iterator[list[Any]]:
    return (entities[start : start + _AT_ONCE] for start in range(0, len(entities), _AT_ONCE))


def _remembered(run: TrackedRun) -> str | None:
    """Return the number of the run of a training that is resumed."""
    if run.memory is None or not run.resumed:
        return None
    try:
        return str(json.loads((run.memory / _MEMORY).read_text(encoding="utf-8"))["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _remember(run: TrackedRun, number: str) -> None:
    if run.memory is not None and run.mode == "TRAIN":
        run.memory.mkdir(parents=True, exist_ok=True)
        (run.memory / _MEMORY).write_text(json.dumps({"run_id": number}), encoding="utf-8")
