"""What a training has left in its folder, here or on a store, read so that nothing half written does harm."""

from __future__ import annotations

import base64
import binascii
import json
import math
import tempfile
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from attrs import field, frozen

from mox_core import run_history, run_notes
from mox_core.datasets.image_bytes import PNG_START
from mox_core.errors import LogDirError, UsageError
from mox_core.stores.folder import is_remote, local_path, open_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mox_core.run_history import Best, History, Spent

_SAMPLES: Final = ".mox/worst_samples.json"
_FILES: Final = (run_history.FILE, run_notes.FILE, _SAMPLES)
_NOT_VALUES: Final = frozenset({"step", "mode"})
LEARNING_RATE, RATE = "learning_rate", "sample/sec"


@frozen
class Sample:
    """A sample of a validation.

    Attributes:
        name: what it is called; may be empty.
        label: the name of its class.
        prediction: the name of the class that it was taken for.
        probability: that of the prediction; None where it is not known.
        loss: its cross-entropy; None where it is not finite.
        image: a PNG in base64.
    """

    name: str
    label: str
    prediction: str
    probability: float | None
    loss: float | None
    image: str = field(repr=False)


@frozen
class Confusion:
    """How often samples of one class were taken for another.

    Attributes:
        classes: the names of the classes.
        counts: counts[label][prediction].
        where: the validation in words.
    """

    classes: Sequence[str]
    counts: Sequence[Sequence[float]]
    where: str


@frozen(kw_only=True)
class Training:
    """A training.

    Attributes:
        name: what the page calls it.
        folder: where it is, as the user has written it.
        history: what it has logged.
        unread: the numbers of the lines of that file that cannot be read.
        spent: what it has spent on saves and validations.
        best: the best validation as a hook saw it, None without one.
        runs: the notes on its runs.
        confusion: the confusion matrix of its last validation, None without one.
        worst: its worst samples, the worst first.
        share: of how many equal parts of the validation the worst samples are from one.
    """

    name: str
    folder: str
    history: History
    unread: Sequence[int]
    spent: Sequence[Spent]
    best: Best | None
    runs: Sequence[dict[str, Any]]
    confusion: Confusion | None
    worst: Sequence[Sample]
    share: int

    def curve(self, mode: str, name: str) -> tuple[list[int], list[float]]:
        """Return the steps and values of a number that was logged, those that are finite."""
        points = [(each["step"], each[name]) for each in self.history.of(mode) if is_number(each.get(name))]
        return [step for step, _ in points], [float(value) for _, value in points]

    def last(self, mode: str, name: str) -> Any:
        """Return the last value of a name, None where there is none."""
        return next((each[name] for each in reversed(self.history.of(mode)) if each.get(name) is not None), None)

    def value_names(self) -> list[str]:
        """Return the names of what was logged, but for the learning rate and the throughput."""
        names = dict.fromkeys(name for record in self.history for name in record)
        return [name for name in names if name not in _NOT_VALUES | {LEARNING_RATE, RATE}]

    def seconds(self) -> float | None:
        """Return how long its runs took, None where one of them was killed or goes on."""
        times = [seconds_of(run) for run in self.runs]
        return sum(each for each in times if each is not None) if times and None not in times else None

    def spent_on(self, what: str) -> tuple[int, float]:
        """Return how many saves or validations there were, and what they took."""
        times = [each.seconds for each in self.spent if each.on == what]
        return len(times), sum(times)


def read_trainings(folders: Sequence[str]) -> list[Training]:
    """Return the trainings of some folders.

    Raises:
        UsageError: if a folder is not there, or nothing was logged in it.
        LogDirError: if it cannot be read.
    """
    folders = list(dict.fromkeys(folders))
    return [_read(folder, name) for folder, name in zip(folders, _names(folders), strict=True)]


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def printable(value: object) -> str:
    """Return a text without what is no character of a page: control characters, halves of characters."""
    return "".join(each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in str(value))


def seconds_of(run: dict[str, Any]) -> float | None:
    """Return how long a run took, None where that is not known."""
    begun, ended = time_of(run.get("begun")), time_of(run.get("ended"))
    return None if begun is None or ended is None else max(0.0, (ended - begun).total_seconds())


def time_of(text: Any) -> datetime | None:
    """Return a time that was noted, None where it is none."""
    try:
        return datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None


def _names(folders: Sequence[str]) -> list[str]:
    """Return as much of the end of each path as tells it from the others; of a single one, the last two parts."""
    parts = [PurePosixPath(folder).parts or (folder,) for folder in folders]
    length = 1 if len(folders) > 1 else 2
    while len({each[-length:] for each in parts}) < len(parts) and length < max(map(len, parts)):
        length += 1
    return [
        "/".join(part.strip("/") for part in each[-length:]) or folder
        for each, folder in zip(parts, folders, strict=True)
    ]


def _read(folder: str, name: str) -> Training:
    if is_remote(folder):
        with tempfile.TemporaryDirectory(prefix="mox-report-") as local:
            _fetch(folder, Path(local))
            return _read_local(Path(local), folder, name)
    path = Path(local_path(folder)).expanduser()
    if not path.is_dir():
        raise UsageError(f"there is no folder {folder!r}: give the log_dir of a training.")
    try:
        return _read_local(path, folder, name)
    except OSError as error:
        raise LogDirError(f"{folder!r} cannot be read: {error.strerror or error}.") from error


def _fetch(url: str, local: Path) -> None:
    remote = open_folder(url)
    for name in _FILES:
        try:
            content = remote.read(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise LogDirError(f"{url!r} cannot be read: {error}") from error
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(content)


def _read_local(path: Path, folder: str, name: str) -> Training:
    history, samples = run_history.read(path), _samples(path / _SAMPLES)
    if not history and not samples:
        raise UsageError(_nothing_in(path, folder))
    classes = list(map(str, _list(samples.get("classes"))))
    return Training(
        name=name,
        folder=folder,
        history=history,
        unread=run_history.unread_lines(path),
        spent=run_history.read_spent(path),
        best=run_history.read_best(path),
        runs=run_notes.read(path),
        confusion=_counted(samples, classes) or _logged(history),
        worst=[each for entry in _list(samples.get("worst")) if (each := _sample(entry, classes))],
        share=int(samples.get("one_of") or 1) if is_number(samples.get("one_of") or 1) else 1,
    )


def _nothing_in(path: Path, folder: str) -> str:
    inside = sorted(each.parent.name for each in path.glob(f"*/{run_history.FILE}"))
    if inside:
        named = " ".join(f"{folder.rstrip('/')}/{each}" for each in inside[:3])
        more = f" (and {len(inside) - 3} more)" if len(inside) > 3 else ""  # noqa: PLR2004
        return f"{folder!r} holds folders of trainings, and is none itself: mox report {named}{more}"
    return (
        f"{folder!r} holds nothing that a training has logged: mox.run(run_mode=mox.ModeKeys.TRAIN, log_dir=...) "
        f"writes {run_history.FILE} there, from the first line of its log on."
    )


def _samples(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _sample(entry: Any, classes: Sequence[str]) -> Sample | None:
    if not isinstance(entry, dict) or not _is_png(entry.get("image")):
        return None
    return Sample(
        name=str(entry.get("name") or ""),
        label=_class(entry.get("label"), classes),
        prediction=_class(entry.get("prediction"), classes),
        probability=_number(entry.get("probability")),
        loss=_number(entry.get("loss")),
        image=entry["image"],
    )


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) else None


def _is_png(text: Any) -> bool:
    try:
        return base64.b64decode(text, validate=True).startswith(PNG_START)
    except (TypeError, ValueError, binascii.Error):
        return False


def _class(number: Any, classes: Sequence[str]) -> str:
    known = isinstance(number, int) and 0 <= number < len(classes)
    return classes[number] if known else str(number)


def _counted(samples: dict[str, Any], classes: Sequence[str]) -> Confusion | None:
    """Return the matrix that a hook has counted."""
    counts = [[0.0] * len(classes) for _ in classes]
    for label, prediction, count in _triples(samples.get("confusion"), len(classes)):
        counts[label][prediction] = count
    if not any(map(any, counts)):
        return None
    what = "an evaluation" if samples.get("mode") == "EVAL" else "the validation"
    return Confusion(classes, counts, f"{what} at step {samples.get('step')}")


def _triples(rows: Any, size: int) -> Iterable[tuple[int, int, float]]:
    for row in _list(rows):
        if isinstance(row, list) and len(row) == 3 and all(map(is_number, row)):  # noqa: PLR2004
            label, prediction, count = row
            if 0 <= label < size and 0 <= prediction < size:
                yield int(label), int(prediction), float(count)


def _logged(history: History) -> Confusion | None:
    """Return the last metric of a validation that is a square matrix of counts."""
    for record in reversed(history.of(run_history.VALIDATION)):
        for name, value in record.items():
            if _is_matrix_of_counts(value):
                classes = [str(number) for number in range(len(value))]
                return Confusion(classes, value, f"{name} of the validation at step {record['step']}")
    return None


def _is_matrix_of_counts(value: Any) -> bool:
    rows = _list(value)
    square = len(rows) > 1 and all(isinstance(row, list) and len(row) == len(rows) for row in rows)
    return square and all(is_number(each) and each >= 0 for row in rows for each in row)
