"""The files of checkpoints in a folder."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Final

BASENAME: Final = "model.ckpt"
UNFINISHED: Final = ".unfinished-"
"""The prefix of what is not complete yet."""
UNFINISHED_EXPORT: Final = f"{UNFINISHED}export-"
"""That of exported models, each with a lock of its own beside it."""

STATE_FILE: Final = "checkpoint"
"""The file of TensorFlow that names the checkpoints of a folder."""

_INDEX = re.compile(rf"{re.escape(BASENAME)}-(\d+)\.index")
_DATA = re.compile(rf"({re.escape(BASENAME)}-\d+)\.data-\d+-of-\d+")


def checkpoint_exists(prefix: str) -> bool:
    """Whether there is a checkpoint: files with suffixes, or the single file that TensorFlow wrote before 1.0."""
    return Path(prefix + ".index").is_file() or Path(prefix).is_file()


def own_prefixes(log_dir: Path) -> list[str]:
    """Return the prefixes of mox's checkpoints in a folder, oldest first."""
    if not log_dir.is_dir():
        return []
    matches = (_INDEX.fullmatch(path.name) for path in log_dir.iterdir())
    return [str(log_dir / f"{BASENAME}-{step}") for step in sorted(int(match[1]) for match in matches if match)]


def step_of(prefix: str) -> int:
    """Return the global step in the prefix of a checkpoint of mox."""
    return int(prefix.rpartition("-")[2])


def is_newer(name: str, prefix: str) -> bool:
    """Whether a name is that of a checkpoint of mox with a higher step than a prefix."""
    return _INDEX.fullmatch(f"{name}.index") is not None and step_of(name) > step_of(prefix)


def prefixes_without_index(log_dir: Path) -> list[str]:
    """Return the prefixes of mox's checkpoints whose data are in a folder and whose index has gone, oldest first.

    Not those of a process that was killed while it saved: it has left the index where it was written.
    """
    matches = [_DATA.fullmatch(path.name) for path in log_dir.iterdir()] if log_dir.is_dir() else []
    names = sorted({match[1] for match in matches if match}, key=step_of)
    killed = {path.stem for path in log_dir.glob(f"{UNFINISHED}*/*.index")}
    return [str(log_dir / name) for name in names if name not in killed and not checkpoint_exists(str(log_dir / name))]


def remove_checkpoint(prefix: str) -> None:
    """Remove the files of a checkpoint, the index first: without it, there is no checkpoint."""
    Path(prefix + ".index").unlink(missing_ok=True)
    for path in Path(prefix).parent.glob(f"{Path(prefix).name}.*"):
        path.unlink(missing_ok=True)


def remove_unfinished(log_dir: Path) -> None:
    """Remove what a killed process has left: unfinished files, and data whose index was never written."""
    state_file = log_dir / STATE_FILE
    named = state_file.read_text(errors="replace") if state_file.is_file() else ""
    for data in log_dir.glob(f"{BASENAME}-*.data-*"):  # before what `prefixes_without_index` tells them by
        prefix = str(data).rpartition(".data-")[0]
        if not checkpoint_exists(prefix) and f'{Path(prefix).name}"' not in named:  # else it was whole once
            data.unlink(missing_ok=True)
    for leftover in log_dir.glob(f"{UNFINISHED}*"):
        if leftover.name.startswith(UNFINISHED_EXPORT):
            continue  # it may be of an evaluation that goes on beside this run, and is swept by the next export
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def write_state_file(log_dir: Path, prefixes: list[str]) -> None:
    """Write the file `checkpoint`, by which `tf.train.latest_checkpoint` and TensorBoard find the newest checkpoint."""
    names = [json.dumps(Path(prefix).name) for prefix in prefixes]
    lines = [f"model_checkpoint_path: {names[-1]}", *(f"all_model_checkpoint_paths: {name}" for name in names)]
    unfinished = log_dir / f"{UNFINISHED}state"
    unfinished.write_text("\n".join(lines) + "\n")
    unfinished.replace(log_dir / STATE_FILE)
