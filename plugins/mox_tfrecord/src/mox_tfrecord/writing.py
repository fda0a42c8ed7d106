"""Writing a folder of images as sharded TFRecords, whole or not at all.

The records are written into a hidden folder in dst_dir and renamed when all are complete. What a process has left that
was killed before is undone by the next one.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import os
import random
import re
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf
from attrs import field, frozen

from mox_core.datasets.checks import check_is_here
from mox_core.datasets.folders import kind_of, reason_of
from mox_core.datasets.labels import FILENAME, has_labels, labels_text, read_labels
from mox_core.datasets.shrunk_images import check_max_side
from mox_core.datasets.whole_sets import undo_unfinished, whole_set
from mox_core.errors import DataError, UsageError
from mox_core.name_lists import number_of, some
from mox_core.quoting import shown
from mox_core.sdk import info_logging, sync_to_disk
from mox_core.terminal.progress import progress
from mox_core.whole_numbers import is_whole_number
from mox_tfrecord.folders import list_images
from mox_tfrecord.imagefiles import BadImageError, EncodedImage, read_image

if TYPE_CHECKING:
    from collections.abc import Generator

    from mox_tfrecord.folders import ImageFile

_SHARD_BYTES = 128 * 2**20
_READERS = 8  # threads: one is enough for a local disk, a network file system takes its time
_READ_AHEAD = 32  # images
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*")


@frozen
class WrittenTFRecords:
    """The result of `write_image_classification_tfrecords`; `str` is a summary of a few lines.

    Attributes:
        files: the records, in the order of their numbers.
        classes: the names of the classes, in the order of their indices.
        num_images: number of images in the records.
        num_bytes: size of all files together.
        converted: format to number of images that became PNG.
        skipped: for each file that was left out the reason, which begins with its path.
        num_shrunk: number of images that were shrunk.
    """

    files: tuple[Path, ...]
    classes: tuple[str, ...]
    num_images: int
    num_bytes: int
    converted: dict[str, int] = field(factory=dict)
    skipped: tuple[str, ...] = ()
    num_shrunk: int = 0

    def __str__(self) -> str:
        shards = number_of(len(self.files), "shard")
        images = number_of(self.num_images, "image")
        lines = [
            f"{images} of {len(self.classes)} classes in {shards}, {self.num_bytes / 1e6:.1f} MB: "
            f"{shown(str(self.files[0]))}" + (" ..." if len(self.files) > 1 else "")
        ]
        lines.extend(f"{number} converted to PNG from {name}" for name, number in sorted(self.converted.items()))
        if self.num_shrunk:
            lines.append(f"{self.num_shrunk} shrunk")
        if self.skipped:
            lines.append(f"{len(self.skipped)} skipped:")
            lines.extend(f"  {reason}" for reason in self.skipped)
        return "\n".join(lines)


def write_image_classification_tfrecords(
    src_dir: str | os.PathLike[str],
    dst_dir: str | os.PathLike[str],
    *,
    name: str = "train",
    num_shards: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    on_bad_image: str = "raise",
    max_side: int | None = None,
) -> WrittenTFRecords:
    """Write a folder of class folders as TFRecords for ImageClassificationTFRecordDataset.

    The images are shuffled over the shards, so that each holds some of every class. JPEGs and PNGs keep their bytes;
    other formats become PNG, without loss. A labels.txt beside the records has the class of each index.

    Example:
        mox.write_image_classification_tfrecords("flowers/train", "flowers_tfrecord", name="train", num_shards=8)

    Args:
        src_dir: a folder as ImageClassificationRawMetadata takes it, src_dir/<class>/<image>.
        dst_dir: the folder for the files: train-00000-of-00008.tfrecord and so on. They appear when all are complete;
            everything else in it stays, so that records of another name with the same classes can be beside them.
        name: the beginning of the files' names.
        num_shards: number of files; None for files of about 128 MiB.
        seed: the seed of the order of the images. The same images and seed result in the same bytes.
        overwrite: whether records of that name are replaced instead of an error.
        on_bad_image: whether files that are no images or cut off "raise" an error, or are left out ("skip").
        max_side: images with a longer side are shrunk until it has as many pixels, once and for all: JPEGs become JPEGs
            of quality 95, all others PNGs. A training reads and decodes a part of the bytes. None: as they are.

    Returns:
        The files, and what was converted and skipped.

    Raises:
        UsageError: if an argument is wrong.
        DataError: if src_dir is not of that form, an image is bad, dst_dir has records of that name or of other
            classes or cannot be written, or another process is writing records of that name there.
    """
    check_is_here("src_dir", src_dir)
    check_is_here("dst_dir", dst_dir, written=True)
    source, target = Path(src_dir).absolute(), Path(dst_dir).absolute()
    _check_arguments(source, target, name, on_bad_image)
    check_max_side(max_side)
    with info_logging():
        classes, images = list_images(source)
        shards = _make_shards(images, num_shards, seed)
        try:
            for left in undo_unfinished(target, name):
                tf.get_logger().warning("Removed %r in %r, which an unfinished write had left", left, str(target))
            replaced = _check_target(target, name, classes, overwrite=overwrite)
            with whole_set(target, name) as made:
                tally = _write(made.folder, name, shards, classes, max_side=max_side, skip=on_bad_image == "skip")
                _check_classes(classes, tally)
                files = [target / file for file in sorted(os.listdir(made.folder))]  # noqa: PTH208 (names)
                (made.folder / FILENAME).write_text(labels_text(classes), "utf-8")
                sync_to_disk(made.folder / FILENAME)
                made.publish(replaced)
        except (OSError, tf.errors.OpError) as error:
            raise DataError(f"the records cannot be written into {str(target)!r}: {reason_of(error)}.") from error
    return WrittenTFRecords(
        files=tuple(files),
        classes=tuple(classes),
        num_images=tally.num_images.total(),
        num_bytes=sum(file.stat().st_size for file in files),
        converted=dict(tally.converted),
        skipped=tuple(tally.skipped),
        num_shrunk=tally.shrunk.total(),
    )


def _check_arguments(source: Path, target: Path, name: str, on_bad_image: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f"name is {name!r}; it must be the beginning of file names, like 'train': letters, digits, '_-.'."
        )
    if on_bad_image not in ("raise", "skip"):
        raise UsageError(f"on_bad_image is {on_bad_image!r}; it must be 'raise' or 'skip'.")
    if target.exists() and not target.is_dir():
        raise UsageError(f"dst_dir {str(target)!r} is a file; it must be a folder, or not there yet.")
    # Path.resolve fails in a loop of links.
    if Path(os.path.realpath(target)).is_relative_to(os.path.realpath(source)):
        raise UsageError(f"dst_dir {str(target)!r} lies in src_dir {str(source)!r}; it must be a folder outside of it.")


def _check_target(target: Path, name: str, classes: list[str], *, overwrite: bool) -> list[str]:
    """Return the names of the files in dst_dir that are to be replaced."""
    records = re.compile(re.escape(name) + r"-\d{5}-of-\d{5}\.tfrecord")
    present = sorted(target.iterdir()) if target.is_dir() else []
    same = [path for path in present if records.fullmatch(path.name)]
    if same and not overwrite:
        raise DataError(
            f"dst_dir {str(target)!r} has records named {name!r} already: {some([path.name for path in same])}. "
            "overwrite=True (--overwrite) replaces them; records of another name can stand beside them."
        )
    for path in same:
        if not path.is_symlink() and (kind := kind_of(path.stat().st_mode)):
            raise DataError(f"{str(path)!r} has the name of a record and is {kind}, which mox does not replace.")
    others = [path for path in present if path.suffix == ".tfrecord" and path not in same]
    labels = target / FILENAME
    has_before = has_labels(labels)
    is_theirs = bool(same) and not others  # the labels of the records that go
    if has_before and not is_theirs and (before := read_labels(labels, distinct=False)) != classes:
        raise DataError(
            f"{str(labels)!r} has the classes {some(before)} ({len(before)}), and src_dir has {some(classes)} "
            f"({len(classes)}): records in one folder share their classes. Give another dst_dir, or lay a copy of that "
            f"{FILENAME} beside the class folders of src_dir if only the order differs."
        )
    return [path.name for path in same] + [FILENAME] * has_before


def _make_shards(images: list[ImageFile], num_shards: int | None, seed: int) -> list[list[ImageFile]]:
    """Return the images of each shard; their numbers differ by one at most."""
    if num_shards is None:
        num_bytes = sum(_size(image.path) for image in images)
        num_shards = min(max(1, round(num_bytes / _SHARD_BYTES)), len(images))
    elif not is_whole_number(num_shards, least=1) or int(num_shards) > len(images):
        raise UsageError(f"num_shards is {num_shards!r}; it must be a whole number from 1 to the {len(images)} images.")
    shuffled = random.Random(seed).sample(images, len(images))  # noqa: S311  (no secret)
    return [shuffled[shard::num_shards] for shard in range(num_shards)]


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0  # the error comes when it is read


@frozen
class _Tally:
    """Counts so far: images by label, and those shrunk; converted ones by format, and the reasons of skipped files."""

    num_images: Counter[int] = field(factory=Counter)
    shrunk: Counter[int] = field(factory=Counter)
    converted: Counter[str] = field(factory=Counter)
    skipped: list[str] = field(factory=list)


def _write(
    hidden: Path,
    name: str,
    shards: list[list[ImageFile]],
    classes: list[str],
    *,
    max_side: int | None,
    skip: bool,
) -> _Tally:
    tally = _Tally()
    images = [image for shard in shards for image in shard]
    with (
        progress(f"Writing {name}", total=len(images), unit="images") as line,
        contextlib.closing(_read_ahead(images, max_side)) as reads,
    ):
        for number, shard in enumerate(shards):
            path = hidden / f"{name}-{number:05d}-of-{len(shards):05d}.tfrecord"
            with tf.io.TFRecordWriter(str(path)) as writer:
                for file, content in itertools.islice(reads, len(shard)):
                    if image := _take(content, tally, skip=skip):
                        writer.write(_example(image, file, classes[file.label]).SerializeToString(deterministic=True))
                        tally.num_images[file.label] += 1
                        tally.shrunk[file.label] += image.is_shrunk
                    line.advance(1)
            sync_to_disk(path)
    return tally


def _read_ahead(images: list[ImageFile], max_side: int | None) -> Generator[tuple[ImageFile, Future[EncodedImage]]]:
    """Yield each image in order while threads read the next ones."""
    waiting: collections.deque[tuple[ImageFile, Future[EncodedImage]]] = collections.deque()
    pool = ThreadPoolExecutor(_READERS)
    try:
        for image in images:
            waiting.append((image, pool.submit(read_image, image.path, max_side)))
            if len(waiting) > _READ_AHEAD:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(cancel_futures=True)


def _take(content: Future[EncodedImage], tally: _Tally, *, skip: bool) -> EncodedImage | None:
    """Return an image that was read; None if it is bad and skipped."""
    try:
        image = content.result()
    except BadImageError as error:
        if not skip:
            raise BadImageError(f"{error} on_bad_image='skip' (--skip_bad) leaves such files out.") from error
        tf.get_logger().warning("Skipped: %s", error)
        tally.skipped.append(str(error))
        return None
    if image.converted_from:
        tally.converted[image.converted_from] += 1
    return image


def _example(image: EncodedImage, file: ImageFile, class_name: str) -> tf.train.Example:
    features = {
        "image/encoded": _bytes(image.encoded),
        "image/format": _bytes(image.format),
        "image/class/label": _int64(file.label),
        "image/class/text": _bytes(class_name.encode()),
        "image/filename": _bytes(os.fsencode(Path(file.path).name)),
        "image/height": _int64(image.height),
        "image/width": _int64(image.width),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _int64(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _check_classes(classes: list[str], tally: _Tally) -> None:
    if bad := [name for label, name in enumerate(classes) if not tally.num_images[label]]:
        raise DataError(f"every image of class {some(bad)} is bad; the first of all: {tally.skipped[0]}")
