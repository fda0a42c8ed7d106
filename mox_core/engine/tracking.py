"""The trackers of a run: what they are told of it, and how it ended."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from mox_core import flags
from mox_core.checkpoint_paths import as_given
from mox_core.engine.interruption import RunInterrupted
from mox_core.engine.run_facts import facts_of
from mox_core.modes import ModeKeys
from mox_core.run_history import plain_values
from mox_core.trackers import FAILED, FINISHED, INTERRUPTED, TrackedRun, Tracking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.arguments import RunConfig
    from mox_core.run_history import Recorder
    from mox_core.run_result import RunResult

_MEMORY: Final = ".mox/trackers"
_RUN: Final = "run.json"


@define
class TrackedEnd:
    """How a tracked run ends: as a failure, until it is said otherwise."""

    tracking: Tracking
    config: RunConfig
    _status: str = field(default=FAILED, init=False)

    def say(self, result: RunResult, *, interrupted: bool) -> None:
        """Say how the run ended, and hand over what it has left."""
        self._status = INTERRUPTED if interrupted else FINISHED
        if self.config.run_mode == ModeKeys.EVAL and not interrupted:
            self.tracking.record(result.global_step, self.config.run_mode, plain_values(result.metrics))
        left = {"checkpoint": result.checkpoint if self.config.training else None}
        for exported in self.config.exports_as:
            kind = f"export_{exported.folder}" if exported.folder else "export"
            left[kind] = result.export_paths.get(exported.name)
        for kind, path in left.items():
            if path is not None:
                self.tracking.artifact(kind, path, _as_known(path, self.config))

    def fail(self, error: BaseException) -> None:
        """Note what ended the run."""
        self._status = INTERRUPTED if isinstance(error, (RunInterrupted, KeyboardInterrupt)) else FAILED

    def finish(self) -> None:
        """End the trackers."""
        self.tracking.finish(self._status)


@contextlib.contextmanager
def tracked(config: RunConfig, recorder: Recorder, *, first_step: int, resumed: bool) -> Iterator[TrackedEnd]:
    """Track a run for the block, on the chief."""
    tracking = Tracking(config.trackers if config.is_chief else ())
    end = TrackedEnd(tracking, config)
    if config.trackers and config.is_chief:
        tracking.start(_described(config, recorder, first_step=first_step, resumed=resumed))
        if config.training:
            recorder.tell = tracking.record
    try:
        yield end
    except BaseException as error:
        end.fail(error)
        raise
    finally:
        end.finish()


def _described(config: RunConfig, recorder: Recorder, *, first_step: int, resumed: bool) -> TrackedRun:
    memory = None if config.log_dir is None else config.log_dir / _MEMORY
    known = _remembered(memory) if config.training and resumed else None
    number = known or uuid.uuid4().hex
    if memory is not None and config.training and known is None:
        with contextlib.suppress(OSError):  # then the next run is one of its own
            shutil.rmtree(memory, ignore_errors=True)
            memory.mkdir(parents=True)
            (memory / _RUN).write_text(json.dumps({"id": number}), encoding="utf-8")
    facts = facts_of(config)
    return TrackedRun(
        id=number,
        name=_name(config),
        mode=config.run_mode,
        log_dir=config.log_dir_url or (str(config.log_dir) if config.log_dir else None),
        folder=config.log_dir,
        memory=memory,
        resumed=known is not None,
        first_step=first_step,
        history=recorder.history().records,
        arguments=facts["arguments"] | _places(config),
        flags=flags.values(),
        versions=facts["versions"],
    )


def _remembered(memory: Path | None) -> str | None:
    """Return the id that the training has had so far."""
    try:
        return str(json.loads((memory / _RUN).read_text(encoding="utf-8"))["id"]) if memory else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _name(config: RunConfig) -> str:
    where = config.log_dir_url or (config.log_dir and str(config.log_dir.absolute()))
    return (where or "").rstrip("/").rpartition("/")[2] or Path(sys.argv[0]).stem or "mox"


def _places(config: RunConfig) -> dict[str, Any]:
    """Return the arguments that say where a run is kept."""
    paths = {
        "log_dir": config.log_dir_url or config.log_dir,
        "checkpoint_path": as_given(config.checkpoint_path, config.checkpoint_url),
    }
    return {
        "trackers": [choice.name for choice in config.trackers],
        **{name: None if path is None else str(path) for name, path in paths.items()},
    }


def _as_known(path: str, config: RunConfig) -> str:
    """Return a path in log_dir as the user knows it."""
    here = None if config.log_dir is None else str(config.log_dir)
    if config.log_dir_url is None or here is None or not path.startswith(here):
        return path
    return config.log_dir_url + path.removeprefix(here)
