"""Splitting a folder of images into one for training and one for evaluation."""

from __future__ import annotations

import functools
import hashlib
import math
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from mox_core.datasets.checks import check_is_here
from mox_core.datasets.folders import reason_of, unreadable
from mox_core.datasets.labels import FILENAME, labels_text
from mox_core.datasets.names import is_class_name
from mox_core.datasets.shrunk_images import check_max_side, shrunk
from mox_core.datasets.whole_sets import undo_unfinished, whole_set
from mox_core.errors import DataError, UsageError
from mox_core.name_lists import number_of, some, some_explained
from mox_core.terminal.progress import progress
from mox_datasets_raw.listing import list_classes
from mox_datasets_raw.split_record import foreign, write_record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mox_core.datasets.folders import Folder
    from mox_core.terminal.parts import Progress

_TOLERANCE = Fraction(1, 1_000_000)
_NAME = "split"


def split_image_classification_dataset(
    split_spec: Mapping[str, float],
    src_dir: str | os.PathLike[str],
    *,
    dst_dir: str | os.PathLike[str],
    overwrite: bool = False,
    max_side: int | None = None,
) -> None:
    """Copy a folder of class folders into several folders, each with a part of the images of every class.

    The part of an image depends only on the names of its class and file, so that a second call makes the same parts.
    Each part has at least one image of every class, and a labels.txt, so that a class has the same index in all parts.

    Example:
        mox.split_image_classification_dataset({"train": 0.9, "eval": 0.1}, src_dir="flowers", dst_dir="flowers_split")

    Args:
        split_spec: the fraction of the images for each part; the sum is 1.
        src_dir: a folder as ImageClassificationRawMetadata takes it. Its content stays.
        dst_dir: the folder of the parts: dst_dir/train, dst_dir/eval. They appear when all is copied; everything else
            in dst_dir stays.
        overwrite: whether parts that exist are replaced instead of an error. Only what a split has written is: a part
            that holds anything else stays, and is an error.
        max_side: images with a longer side are shrunk until it has as many pixels, once and for all: JPEGs become JPEGs
            of quality 95, all others PNGs, under their names. A training reads and decodes a part of the bytes. Files
            that are no image are told, and copied as they are. None: all are copied as they are.

    Raises:
        UsageError: if the fractions or the folders are wrong.
        DataError: if src_dir is not of that form, a class has fewer images than there are parts, an image cannot be
            copied, or another process is splitting into dst_dir.
    """
    fractions = _checked(split_spec)
    check_max_side(max_side)
    check_is_here("src_dir", src_dir)
    check_is_here("dst_dir", dst_dir, written=True)
    source, target = Path(src_dir).absolute(), Path(dst_dir).absolute()
    _check_folders(source, target, list(fractions))
    found = list_classes(str(source), FILENAME)
    _warn_of_broken(source, found)
    classes = {name: each.files for name, each in found.items()}
    _check_readable(source, classes)
    parts = {name: _split_class(name, files, fractions, source) for name, files in classes.items()}
    try:
        for left in undo_unfinished(target, _NAME):
            tf.get_logger().warning("Removed %r in %r, which an unfinished split had left", left, str(target))
        existing = _replaceable(target, list(fractions), overwrite=overwrite)
        total = sum(map(len, classes.values()))
        with (
            whole_set(target, _NAME) as made,
            progress("Shrinking", total=total, unit="images", only_live=max_side is None) as line,
        ):
            for split in fractions:
                files = {name: part[split] for name, part in parts.items()}
                _copy(source, made.folder / split, files, max_side, line)
            made.publish(existing)
    except OSError as error:
        raise DataError(f"the parts cannot be written into {str(target)!r}: {reason_of(error)}.") from error
    for split in fractions:
        num_images = sum(len(part[split]) for part in parts.values())
        tf.get_logger().info("%d images of %d classes are in %r", num_images, len(classes), str(target / split))


def part_sizes(num_files: int, fractions: Mapping[str, Fraction]) -> dict[str, int]:
    """Return the number of files of each part: its fraction, rounded to the right sum, and at least 1."""
    exact = {split: num_files * fraction for split, fraction in fractions.items()}
    sizes = {split: math.floor(share) for split, share in exact.items()}
    by_remainder = sorted(exact, key=lambda split: sizes[split] - exact[split])
    for split in by_remainder[: num_files - sum(sizes.values())]:
        sizes[split] += 1
    for split, size in sizes.items():
        if size == 0:
            sizes[max(sizes, key=lambda other: sizes[other])] -= 1
            sizes[split] = 1
    return sizes


def _checked(split_spec: Mapping[str, float]) -> dict[str, Fraction]:
    rule = "it must give the fraction of each part, like {'train': 0.9, 'eval': 0.1}, each above 0 and together 1."
    try:
        fractions = {split: Fraction(str(fraction)) for split, fraction in split_spec.items()}
    except (AttributeError, ValueError) as error:
        raise UsageError(f"split_spec is {split_spec!r}; {rule}") from error
    total = sum(fractions.values(), start=Fraction(0))
    if not all(fraction > 0 for fraction in fractions.values()) or abs(total - 1) > _TOLERANCE:
        raise UsageError(f"split_spec is {split_spec!r}; {rule}")
    for split in fractions:
        if not is_class_name(split) or split != Path(split).name or split.startswith("."):
            raise UsageError(f"split_spec names a part {split!r}; it must be the name of a folder in dst_dir.")
    return {split: fraction / total for split, fraction in fractions.items()}  # the total is 1 but for rounding


def _check_folders(source: Path, target: Path, splits: list[str]) -> None:
    """Check that nothing is written into, or over, the source."""
    real_source, real_target = Path(os.path.realpath(source)), Path(os.path.realpath(target))  # resolve fails in loops
    if real_target.is_relative_to(real_source):
        raise UsageError(f"dst_dir {str(target)!r} lies in src_dir {str(source)!r}; it must be a folder outside of it.")
    for split in splits:
        if real_source.is_relative_to(real_target / split):
            raise UsageError(
                f"part {split!r} would be written over src_dir {str(source)!r}; give another dst_dir or another name."
            )


def _replaceable(target: Path, splits: list[str], *, overwrite: bool) -> list[str]:
    """Return the parts that exist already and may be replaced."""
    existing = [split for split in splits if os.path.lexists(target / split)]
    if existing and not overwrite:
        raise UsageError(
            f"dst_dir {str(target)!r} already holds {some(existing)}. overwrite=True replaces what a split has written."
        )
    for split in existing:
        if reason := foreign(target / split):
            raise UsageError(
                f"overwrite=True replaces only what a split has written, and {str(target / split)!r} {reason}. Move or "
                "remove it yourself, or give another dst_dir."
            )
    return existing


def _warn_of_broken(source: Path, classes: Mapping[str, Folder]) -> None:
    """Log what is left out, as data sets leave it out: links to nowhere, and links that lead round in a circle."""
    broken = {f"{name}/{file}": why for name, each in classes.items() for file, why in each.broken.items()}
    if broken:
        number = "1 entry is" if len(broken) == 1 else f"{len(broken)} entries are"
        tf.get_logger().warning("%s left out of the parts of %r: %s", number, str(source), some_explained(broken))


def _check_readable(source: Path, classes: Mapping[str, list[str]]) -> None:
    """Refuse images that the system does not let one read, before anything is copied.

    Raises:
        DataError: with their number, and the first ones.
    """
    paths = {f"{name}/{file}": source / name / file for name, files in classes.items() for file in files}
    reasons = {name: reason for name, path in paths.items() if (reason := unreadable(path))}
    if reasons:
        number = number_of(len(reasons), "image")
        raise DataError(
            f"{number} in {str(source)!r} cannot be copied: {some_explained(reasons, most=10)}. "
            f"Mend or remove {'it' if len(reasons) == 1 else 'them'}."
        )


def _split_class(name: str, files: list[str], fractions: Mapping[str, Fraction], source: Path) -> dict[str, list[str]]:
    if len(files) < len(fractions):
        raise DataError(
            f"class {name!r} in {str(source)!r} has {number_of(len(files), 'image')}, too few for {len(fractions)} "
            "parts: each needs one."
        )
    shuffled = iter(sorted(files, key=lambda file: hashlib.blake2b(os.fsencode(f"{name}/{file}")).digest()))
    return {split: [next(shuffled) for _ in range(size)] for split, size in part_sizes(len(files), fractions).items()}


def _copy(source: Path, target: Path, classes: Mapping[str, list[str]], max_side: int | None, line: Progress) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow works outside of Python's lock
        try:
            for name, files in classes.items():
                folder = target / name
                folder.mkdir(parents=True)
                copy = functools.partial(_copy_file, source / name, folder, max_side)
                for _ in pool.map(copy, files):
                    line.advance(1)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    Path(target, FILENAME).write_text(labels_text(list(classes)), "utf-8")
    write_record(target)


def _copy_file(source: Path, target: Path, max_side: int | None, file: str) -> None:
    small = None
    if max_side is not None:
        try:
            small = shrunk((source / file).read_bytes(), max_side)
        except Exception as error:  # noqa: BLE001  (Pillow's readers raise many kinds of errors for damaged files)
            tf.get_logger().warning("%r is copied as it is, not shrunk: %s", str(source / file), error)
    if small is None:
        shutil.copy2(source / file, target / file)
    else:
        (target / file).write_bytes(small)
