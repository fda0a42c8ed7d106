"""Runs in Weights & Biases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mox_core.trackers import TrackedRun, Tracker
from mox_trackers.values import below, module, numbers, split

if TYPE_CHECKING:
    from collections.abc import Mapping

_STEP: Final = "global_step"


class WandbRuns(Tracker):
    """Keeps a run where W&B is set to keep runs, as by `WANDB_PROJECT`, `WANDB_ENTITY`, `WANDB_MODE=offline`.

    Metrics are called 'train/loss', 'validation/loss', 'eval/loss', over 'global_step'. An exported model becomes an
    artifact of the type 'model'; where the checkpoint is stands in the summary. A resumed training goes on under its
    id. In a run that the script has begun (`wandb.init()`), all goes there, and the script ends it.
    """

    def __init__(self) -> None:
        """Look for a run that the script has begun."""
        self._run: Any = getattr(sys.modules.get("wandb"), "run", None)
        self._is_ours = self._run is None
        self._last = 0
        self._places: dict[str, list[str]] = {}
        self._folder: Path | None = None

    def start(self, run: TrackedRun) -> str:
        """Begin a run, or go on with that of the training."""
        self._wandb = module("wandb", install="wandb")
        self._folder = run.folder
        if self._is_ours:
            self._run = self._wandb.init(
                id=run.id,
                name=run.name,
                resume="allow",
                reinit="create_new",
                # What the run prints is the user's, and what W&B prints is said in one line by mox.
                settings=self._wandb.Settings(console="off", silent=True),
            )
        told = {**run.arguments, "flags": dict(run.flags), "versions": dict(run.versions)}
        self._run.config.update(told, allow_val_change=True)
        self._run.define_metric(_STEP)
        for mode in ("train", "validation", "eval"):
            self._run.define_metric(f"{mode}/*", step_metric=_STEP)
        if not run.resumed:
            for record in run.history:
                self.record(*split(record))
        return str(self._run.dir if self._run.offline else self._run.url)

    def record(self, step: int, mode: str, values: Mapping[str, Any]) -> None:
        """Log metrics."""
        named = {f"{mode.lower()}/{name}": number for name, number in numbers(values).items()}
        self._last = max(step, self._last)  # W&B takes no step twice: neither backwards, nor again from a resumed run
        self._run.log({_STEP: step, **named}, step=self._last)

    def artifact(self, kind: str, path: str, place: str) -> None:
        """Note where it is, and keep an exported model."""
        self._places.setdefault(kind, []).append(place)
        self._run.summary[kind] = ", ".join(self._places[kind])
        if kind == "export":
            form = below(path, self._folder).rpartition("/")[0].replace("/", "-")  # the folder of a format
            name = "-".join(filter(None, ["model", form, self._run.id]))
            model = self._wandb.Artifact(name, "model", metadata={"place": place})
            for file in filter(Path.is_file, Path(path).rglob("*")):  # add_dir prints
                model.add_file(str(file), name=file.relative_to(path).as_posix())
            self._run.log_artifact(model)

    def finish(self, status: str) -> None:
        """End the run."""
        self._run.summary["status"] = status
        if self._is_ours:
            self._run.finish(exit_code=int(status != "finished"))
