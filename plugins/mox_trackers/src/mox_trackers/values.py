"""What a run says as the flat names and numbers that trackers take."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mox_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mox_core.trackers import TrackedRun


def module(name: str, *, install: str) -> Any:
    """Import a package that only this tracker needs.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise UsageError(f"{name} is not installed: pip install {install}") from error


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return values as numbers: NaN for one that is not finite, 'name/0' and so on for those of an array."""
    return {name: number for each, value in values.items() for name, number in _numbers(each, value)}


def _numbers(name: str, value: Any) -> Iterator[tuple[str, float]]:
    if isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            yield from _numbers(f"{name}/{index}", each)
    else:
        yield name, math.nan if value is None else float(value)


def below(path: str, folder: Path | None) -> str:
    """Return where an exported model is in log_dir: '1' or 'onnx/1', the same on all machines."""
    inside = folder is not None and Path(path).is_relative_to(folder)
    return Path(path).relative_to(folder).as_posix() if inside and folder is not None else Path(path).name


def split(record: Mapping[str, Any]) -> tuple[int, str, dict[str, Any]]:
    """Return step, mode and values of a record of a history."""
    return record["step"], record["mode"], {name: record[name] for name in record if name not in {"step", "mode"}}


def configuration(run: TrackedRun) -> dict[str, Any]:
    """Return arguments and flags of a run under flat names: 'batch_size', 'flags/num_gpus'."""
    return {**run.arguments, **{f"flags/{name}": value for name, value in run.flags.items()}}
