"""The samples of a validation with which a classifier does worst, and what it takes for what."""

from __future__ import annotations

import base64
import heapq
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import tensorflow as tf
from attrs import define, field

from mox_core import Hook, ModeKeys, UsageError
from mox_core.cluster.cluster import read as read_cluster
from mox_core.flags import get_flag
from mox_core.sdk import run_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE: Final = Path(".mox", "worst_samples.json")
_LONGEST_SIDE: Final = 96
"""Pixels of a thumbnail."""
_MATRIX, _BATCH_OF_IMAGES = 2, 4
_CHANNELS: Final = (1, 3)


@define
class _Seen:
    """What was seen of one evaluation.

    Attributes:
        num_classes: how many logits there are.
        keep: how many samples are kept, the worst ones.
    """

    num_classes: int
    keep: int
    samples: int = field(default=0, init=False)
    left_out: int = field(default=0, init=False)
    confusion: dict[tuple[int, int], int] = field(factory=dict, init=False)
    worst: list[tuple[float, int, dict[str, Any]]] = field(factory=list, init=False)

    def add(self, images: Any, labels: Any, logits: Any, names: Sequence[Any]) -> None:
        """Add a batch."""
        logits = np.asarray(logits, np.float64)
        labels = np.asarray(labels)
        labels = labels.argmax(axis=1) if labels.shape == logits.shape else labels.reshape(len(logits))
        known = (labels >= 0) & (labels < self.num_classes)
        self.left_out += int((~known).sum())
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        for number in np.flatnonzero(known):
            label, each = int(labels[number]), log_probabilities[number]
            prediction = int(each.argmax())
            self.confusion[label, prediction] = self.confusion.get((label, prediction), 0) + 1
            self.samples += 1
            loss = -each[label]
            place = (loss if math.isfinite(loss) else math.inf, -self.samples)  # the first of equal ones
            if len(self.worst) == self.keep and place <= self.worst[0][:2]:
                continue
            facts = {
                "name": names[int(number)].decode(errors="replace") if names else "",
                "label": label,
                "prediction": prediction,
                "loss": float(loss) if math.isfinite(loss) else None,
                "probability": float(np.exp(each[prediction])) if math.isfinite(loss) else None,
                "image": np.array(images[number]),
            }
            (heapq.heappush if len(self.worst) < self.keep else heapq.heapreplace)(self.worst, (*place, facts))


class WorstSamplesHook(Hook):
    """Keep the samples with the highest cross-entropy of each validation, and count what is taken for what.

    `model_fn` returns it in EVAL; in TRAIN it does nothing. It sees the validations of a training
    (`inter_mode=mox.ModeKeys.EVAL`) and the runs of EVAL, and writes `<log_dir>/.mox/worst_samples.json` at the end of
    each one, for `mox report`. With several devices or workers it sees the share of the first one, and says so there.

    Example:
        hooks=[validation, mox.WorstSamplesHook(images, labels, logits, names=names, class_names=["cat", "dog"])]

    Args:
        images: [batch, height, width, 1 or 3]; floats of any range, which pictures show stretched.
        labels: [batch] of whole numbers, or one-hot as the logits.
        logits: [batch, classes].
        names: [batch] of strings, what samples are called.
        class_names: the name of each class.
        keep: how many samples are kept.

    Raises:
        UsageError: if a shape is another one, or keep is below 1.
    """

    def __init__(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        logits: tf.Tensor,
        *,
        names: tf.Tensor | None = None,
        class_names: Sequence[str] | None = None,
        keep: int = 24,
    ) -> None:
        super().__init__()
        _check(images, labels, logits, keep)
        self._fetches = {"images": images, "labels": labels, "logits": logits}
        if names is not None:
            self._fetches["names"] = names
        self._num_classes = int(logits.shape[-1] or 0)  # which has been checked
        self._class_names = _class_names(class_names, self._num_classes)
        self._keep = keep
        self._seen: _Seen | None = None
        self._at: tuple[str, int] = ("", 0)
        self._evaluates = False
        self._replicas = 1

    def after_create_session(self, session: Any, coord: Any) -> None:
        """See whether this is an evaluation."""
        del coord
        self._evaluates, self._replicas = session.mode == ModeKeys.EVAL, session.num_replicas

    def next_step(self, step: int) -> int | None:
        """Return the step: every one of an evaluation."""
        return step if self._evaluates else None

    def before_run(self, run_context: Any) -> Any:
        """Fetch the batch."""
        if run_context.step == 0 or self._seen is None:  # one before that was cut short
            self._seen, self._at = _Seen(self._num_classes, self._keep), (ModeKeys.EVAL, run_context.global_step)
        return tf.compat.v1.train.SessionRunArgs(self._fetches)

    def after_run(self, run_context: Any, run_values: Any) -> None:
        """Look at the batch."""
        del run_context
        found = run_values.results
        if self._seen is not None:
            self._seen.add(found["images"], found["labels"], found["logits"], list(found.get("names", ())))

    def after_inter_mode(self, run_context: Any) -> None:
        """Write what was seen of a validation."""
        self._at = ("VALIDATION", run_context.global_step)
        self._write()

    def end(self, session: Any) -> None:
        """Write what was seen of a run of EVAL that came to its end."""
        if session.complete and self._at[0] == ModeKeys.EVAL:
            self._write()

    def support_aggregation(self) -> bool:
        """Return True: it sees the samples of the first replica."""
        return True

    def _write(self) -> None:
        seen, self._seen = self._seen, None
        folder, cluster = run_folder(), read_cluster(get_flag, os.environ)
        if seen is None or folder is None or (cluster is not None and not cluster.is_chief):
            return
        if seen.left_out:
            tf.get_logger().warning(
                "WorstSamplesHook leaves out %d samples of %d, whose labels are not among 0 to %d, the classes of the "
                "logits.",
                *(seen.left_out, seen.left_out + seen.samples, self._num_classes - 1),
            )
        facts = {
            "mode": self._at[0],
            "step": self._at[1],
            "samples": seen.samples,
            "one_of": self._replicas * (len(cluster.workers) if cluster is not None else 1),
            "classes": self._class_names,
            "confusion": [[*pair, count] for pair, count in sorted(seen.confusion.items())],
            "worst": [each | {"image": _png(each["image"])} for _, _, each in sorted(seen.worst, key=_loss_first)],
        }
        path = folder / _FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f".{path.name}")
            new.write_text(json.dumps(facts), encoding="utf-8")
            new.replace(path)
        except OSError as error:
            tf.get_logger().warning("WorstSamplesHook cannot write %r: %s.", str(path), error)


def _loss_first(entry: tuple[float, int, dict[str, Any]]) -> tuple[float, int]:
    return -entry[0], -entry[1]


def _check(images: tf.Tensor, labels: tf.Tensor, logits: tf.Tensor, keep: int) -> None:
    who = "WorstSamplesHook"
    if images.shape.rank != _BATCH_OF_IMAGES or images.shape[-1] not in _CHANNELS:
        raise UsageError(f"images of {who} have the shape {images.shape}; it must be (batch, height, width, 1 or 3).")
    if logits.shape.rank != _MATRIX or not logits.shape[-1] or logits.shape[-1] < _MATRIX:
        raise UsageError(f"logits of {who} have the shape {logits.shape}; it must be (batch, classes), of 2 or more.")
    if labels.shape.rank not in (1, _MATRIX) or (
        labels.shape.rank == _MATRIX and labels.shape[-1] not in (1, logits.shape[-1])
    ):
        raise UsageError(f"labels of {who} have the shape {labels.shape}; it must be (batch,), or that of the logits.")
    if keep < 1:
        raise UsageError(f"keep of {who} is {keep!r}; it must be 1 or more.")


def _class_names(names: Sequence[str] | None, num_classes: int) -> list[str]:
    if names is None:
        return [str(number) for number in range(num_classes)]
    if len(names) != num_classes:
        raise UsageError(f"class_names of WorstSamplesHook has {len(names)} names, and logits {num_classes} classes.")
    return list(map(str, names))


def _png(image: Any) -> str:
    """Return a picture as PNG in base64; floats are stretched to all there is between black and white."""
    pixels = np.asarray(image, np.float64 if image.dtype != np.uint8 else np.uint8)
    if pixels.dtype != np.uint8:
        pixels = np.nan_to_num(pixels, posinf=0.0, neginf=0.0)
        low, high = pixels.min(), pixels.max()
        pixels = ((pixels - low) * (255.0 / (high - low) if high > low else 0.0)).round().astype(np.uint8)
    height, width, _ = pixels.shape
    if (factor := _LONGEST_SIDE / max(height, width)) < 1:
        size = [max(1, round(height * factor)), max(1, round(width * factor))]
        pixels = tf.cast(tf.round(tf.image.resize(pixels, size, method="area")), tf.uint8)
    return base64.b64encode(tf.io.encode_png(pixels).numpy()).decode()
