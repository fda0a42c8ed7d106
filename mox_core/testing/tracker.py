"""The contract of trackers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

import attrs
import pytest

from mox_core.plugins import loader
from mox_core.plugins.offers import TrackerOffer, import_target
from mox_core.testing.helpers import attempt
from mox_core.trackers import TrackedRun

if TYPE_CHECKING:
    from pathlib import Path

Record = tuple[int, str, Mapping[str, float]]

_ODD: Final = {"[loss]": 0.5, "loss %": 0.25, "per class": [0.75, [1.0]], "sample/sec": 12.5, "broken": None}
"""Values as runs have them: with brackets in names, arrays, and what is not finite."""


class TrackerContract:
    """Tests for a tracker that a plugin offers to `mox.run(trackers=[...])`.

    It is called as a run would call it, without one: it is started, gets records and what the run has left, and is
    ended; a second run resumes the training. Where it keeps runs is for the author to set, by a fixture of the test
    file that is used automatically: an environment variable, the address of a server that the tests have started.

    Example:
        class TestAim(TrackerContract):
            tracker = "aim"

            def read(self, run):
                return my_reader(run.id)

    Attributes:
        tracker: the name of the tracker.
    """

    tracker: ClassVar[str]

    def read(self, run: TrackedRun) -> Sequence[Record]:
        """Return what has been kept of a run: step, mode and values of each record. The author overrides it."""
        del run
        pytest.skip("needs `read`, which returns the records that were kept")

    def test_it_takes_a_run_from_its_start_to_its_end(self, tmp_path: Path) -> None:
        """No method raises, with odd names, arrays and what is not finite, nor for a run that failed."""
        for status in ("finished", "interrupted", "failed"):
            self._track(self._run(tmp_path / status), [(0, "TRAIN", _ODD), (4, "VALIDATION", {"loss": 1.5})], status)

    def test_it_keeps_what_it_is_told(self, tmp_path: Path) -> None:
        """Each number is kept under its step and mode."""
        run = self._run(tmp_path)
        told = [(step, "TRAIN", {"loss": 1.0 / (step + 1), "learning_rate": 0.1}) for step in range(4)]
        told.append((3, "VALIDATION", {"loss": 0.5}))
        self._track(run, told, "finished")
        assert self._numbers(run) == sorted(_flat(told))

    def test_it_goes_on_with_a_training_that_is_resumed(self, tmp_path: Path) -> None:
        """The records of both runs are kept, those of the first once."""
        run = self._run(tmp_path)
        first = [(step, "TRAIN", {"loss": 1.0 / (step + 1)}) for step in range(3)]
        self._track(run, first, "interrupted")
        history = tuple({"step": step, "mode": mode, **values} for step, mode, values in first)
        second = [(step, "TRAIN", {"loss": 1.0 / (step + 1)}) for step in range(3, 5)]
        arguments = {**run.arguments, "max_number_of_steps": 5}
        again = attrs.evolve(run, resumed=True, first_step=3, history=history, arguments=arguments)
        self._track(again, second, "finished")
        assert self._numbers(again) == sorted(_flat([*first, *second]))

    def _numbers(self, run: TrackedRun) -> list[tuple[int, str, str, float]]:
        return sorted(_flat(self.read(run)))

    def _track(self, run: TrackedRun, records: Sequence[tuple[int, str, Mapping[str, Any]]], status: str) -> None:
        with attempt(f"tracker {self.tracker!r}"):
            tracker = import_target(loader.installed_plugins().find(TrackerOffer, self.tracker))()
            tracker.start(run)
            for step, mode, values in records:
                tracker.record(step, mode, values)
            for kind, path in (("checkpoint", f"{run.folder}/model.ckpt-5"), ("export", f"{run.folder}/1")):
                tracker.artifact(kind, path, path)
            tracker.finish(status)

    def _run(self, folder: Path) -> TrackedRun:
        exported = folder / "1"
        exported.mkdir(parents=True)
        (exported / "model.txt").write_text("a model", encoding="utf-8")
        return TrackedRun(
            id=f"{abs(hash(str(folder))):032x}",
            name="contract",
            mode="TRAIN",
            log_dir=str(folder),
            folder=folder,
            memory=folder / ".mox" / "trackers",
            resumed=False,
            first_step=0,
            history=(),
            arguments={"batch_size": 32, "max_number_of_steps": 3, "optimizer_fn": ["sgd"], "checkpoint_path": None},
            flags={"num_gpus": 1, "loss_scale": 1.0, "plain": False, "trackers": self.tracker},
            versions={"python": "3.11", "tensorflow": "2.21"},
        )


def _flat(records: Sequence[tuple[int, str, Mapping[str, Any]]]) -> list[tuple[int, str, str, float]]:
    return [
        (step, mode, name, float(value))
        for step, mode, values in records
        for name, value in values.items()
        if not math.isnan(value)
    ]
