"""The trackers of a run: what they are told of it, and how it ended."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import keras
import numpy as np
import tensorflow as tf
from attrs import define, field

from mox_core import flags
from mox_core.engine.interruption import RunInterrupted
from mox_core.modes import ModeKeys
from mox_core.run_history import plain_values
from mox_core.trackers import FAILED, FINISHED, INTERRUPTED, TrackedRun, Tracking
from mox_core.version import version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.arguments import RunConfig
    from mox_core.run_history import Recorder
    from mox_core.run_result import RunResult

_MEMORY: Final = ".mox/trackers"
_RUN: Final = "run.json"
_FUNCTIONS: Final = ("input_fn", "model_fn", "output_fn", "exporter")
_ARGUMENTS: Final = (
    "inter_mode",
    "batch_size",
    "auto_batch",
    "max_number_of_steps",
    "log_every_n_steps",
    "output_every_n_steps",
    "save_summary_steps",
    "save_model_secs",
    "save_model_steps",
)


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
        checkpoint = result.checkpoint if self.config.training else None
        for kind, path in (("checkpoint", checkpoint), ("export", result.export_path)):
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
        arguments=_arguments(config),
        flags=flags.values(),
        versions={
            "python": platform.python_version(),
            "mox-core": version(),
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
        },
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


def _arguments(config: RunConfig) -> dict[str, Any]:
    functions = {name: getattr(config, name) for name in _FUNCTIONS}
    named = {name: _called(function) for name, function in functions.items() if function is not None}
    paths = {
        "log_dir": config.log_dir_url or config.log_dir,
        "checkpoint_path": config.checkpoint_url or config.checkpoint_path,
    }
    return {
        "run_mode": config.run_mode,
        **{"export_model" if name == "exporter" else name: called for name, called in named.items()},
        **({"optimizer_fn": [_called(each) for each in config.optimizer_fns]} if config.optimizer_fns else {}),
        **{name: getattr(config, name) for name in _ARGUMENTS},
        "trackers": [choice.name for choice in config.trackers],
        **{name: None if path is None else str(path) for name, path in paths.items()},
    }


def _called(function: Any) -> str:
    function = getattr(function, "func", function)  # of functools.partial
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _as_known(path: str, config: RunConfig) -> str:
    """Return a path in log_dir as the user knows it."""
    here = None if config.log_dir is None else str(config.log_dir)
    if config.log_dir_url is None or here is None or not path.startswith(here):
        return path
    return config.log_dir_url + path.removeprefix(here)
