"""Files that cannot be read: left out and named, or the end of the run."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import forked
from mox_core.errors import DataError
from mox_core.sdk import BadSampleReport
from mox_datasets_raw.classification import ImageClassificationRawDataset, ImageClassificationRawMetadata
from mox_datasets_raw.splitting import split_image_classification_dataset


@pytest.fixture
def spoiled(flowers):
    """The nine images, four of which are damaged, empty, text, and a link to nowhere."""
    jpeg = flowers / "daisy" / "daisy_1.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:-40])
    (flowers / "roses" / "roses_0.png").write_bytes(b"")
    (flowers / "tulips" / "tulips_3.jpg").write_text("404 not found")
    (flowers / "tulips" / "tulips_2.png").unlink()
    (flowers / "tulips" / "tulips_2.png").symlink_to(flowers / "nowhere.png")
    return ImageClassificationRawMetadata(flowers)


BAD = ["daisy/daisy_1.jpg", "roses/roses_0.png", "tulips/tulips_2.png", "tulips/tulips_3.jpg"]


def test_files_that_no_reader_takes_are_left_out_and_counted_by_suffix_and_folders_are_told(flowers, elements, caplog):
    for number in range(3):
        (flowers / "daisy" / f"{number}.HEIC").write_bytes(b"\0\0\0\x18ftypheic")
    (flowers / "roses" / "notes.txt").write_text("who took them")
    (flowers / "roses" / "Thumbs.db").touch()
    (flowers / "tulips" / "more" / "deep").mkdir(parents=True)
    for name in ("1.png", "deep/2.jpg", "notes.txt"):
        (flowers / "tulips" / "more" / name).touch()
    (flowers / "__MACOSX" / "daisy").mkdir(parents=True)
    (flowers / "daisy" / "daisy_1.jpg").rename(flowers / "daisy" / "daisy_1")
    (flowers / "daisy" / "daisy_2.png").rename(flowers / "daisy" / "daisy_2.download")
    root, read = repr(str(flowers)), "formats read are JPEG, PNG, GIF, BMP, WebP"
    of_folders = "Expected is a folder for each class with the images of that class in it: base_dir/<class>/<image>."
    expected = [
        f"In {root} are left out, as systems and programs put them there: '__MACOSX'",
        f"{root}: 5 files are left out that no reader takes: .heic 3, .db 1, .txt 1 ({read}).",
        f"{root}: 1 folder among the images is not read, with 2 images inside: 'tulips/more'. {of_folders}",
        f"Total 9 files found in {root}",
        "Total number of samples is 9",
        "Labels index to name:",
        "0: 'daisy'",
        "1: 'roses'",
        "2: 'tulips'",
    ]
    for _mode in ("TRAIN", "EVAL"):
        meta = ImageClassificationRawMetadata(flowers)
    assert caplog.messages == expected  # once, though made twice
    assert len(elements(ImageClassificationRawDataset(meta, num_epochs=1))) == 9
    for path in (flowers / "roses").glob("*.[pj]*g"):
        path.unlink()
    with pytest.raises(
        DataError, match=r"without an image .*'roses' \(1 of 3\).*takes: \.db 1, \.txt 1 \(formats read"
    ):
        ImageClassificationRawMetadata(flowers)


def test_bad_files_are_left_out_and_named(spoiled, flowers, elements):
    report = BadSampleReport()
    dataset = ImageClassificationRawDataset(spoiled, num_epochs=2, shuffle=False)
    names = [element["image_name"].decode() for element in elements(dataset, report=report)]
    assert names == ["daisy_0.png", "daisy_2.png", "roses_1.jpg", "tulips_0.png", "tulips_1.jpg"] * 2
    assert list(report.names) == [str(flowers / name) for name in BAD]


def test_the_warning_says_what_the_system_says_or_what_may_be_wrong_with_the_content(
    spoiled, flowers, elements, caplog
):
    (flowers / "tulips" / "tulips_0.png").unlink()
    (flowers / "tulips" / "tulips_0.png").symlink_to("tulips_0.png")
    (flowers / "tulips" / "tulips_1.jpg").unlink()
    (flowers / "tulips" / "tulips_1.jpg").mkdir()
    elements(ImageClassificationRawDataset(spoiled, num_epochs=1, shuffle=False))
    content = "damaged, empty, or of no known format"
    reasons = {
        "daisy/daisy_1.jpg": content,
        "roses/roses_0.png": content,
        "tulips/tulips_0.png": "Too many levels of symbolic links",
        "tulips/tulips_1.jpg": "it is a folder, not a regular file",
        "tulips/tulips_2.png": "No such file or directory",
        "tulips/tulips_3.jpg": content,
    }
    assert list(dict.fromkeys(caplog.messages))[-6:] == [
        f"{str(flowers / name)!r} cannot be read ({reason}): it is left out." for name, reason in reasons.items()
    ]


def test_permission_denied_is_called_that():
    # Root may read everything: the files are another user's to a process that gives up being root.
    program = """
import os, sys
if os.getuid() == 0:
    os.setuid(65534)
from mox_core.datasets.folders import list_folder, unreadable
from mox_core.errors import DataError
print(unreadable("image.png"))
try:
    list_folder("folder", "Expected are images.")
except DataError as error:
    print(error)
"""
    folder = Path(tempfile.mkdtemp())  # where another user may go
    try:
        folder.chmod(0o755)
        (folder / "image.png").touch()
        (folder / "folder").mkdir()
        (folder / "image.png").chmod(0)
        (folder / "folder").chmod(0)
        done = forked.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=True)
    finally:
        shutil.rmtree(folder)
    assert done.stdout.splitlines() == [
        "Permission denied",
        "the folder 'folder' cannot be read: Permission denied. Expected are images.",
    ]


@pytest.mark.parametrize("on_bad_image", ["skip", "raise"])
def test_what_is_no_regular_file_is_named_and_never_opened(flowers, elements, caplog, on_bad_image):
    os.mkfifo(flowers / "daisy" / "pipe.png")
    (flowers / "daisy" / "zero.jpg").symlink_to("/dev/zero")
    meta = ImageClassificationRawMetadata(flowers)
    said = "'pipe.png' (a FIFO), 'zero.jpg' (a device)"
    assert caplog.messages[0] == (f"In {str(flowers / 'daisy')!r} are not read, as they are no regular files: {said}")
    assert meta.total_num_samples == 9
    assert len(elements(ImageClassificationRawDataset(meta, num_epochs=1, on_bad_image=on_bad_image))) == 9
    split_image_classification_dataset({"a": 0.5, "b": 0.5}, flowers, dst_dir=flowers.parent / "split")
    assert len([path for path in (flowers.parent / "split").glob("*/*/*") if path.is_file()]) == 9
    with pytest.raises(
        DataError, match=r"daisy' holds what is no regular file, 'pipe\.png' \(a FIFO\), 'zero\.jpg' \(a"
    ):
        ImageClassificationRawMetadata(flowers.parent / "split" / "a", redirect_dir=flowers)


@pytest.mark.parametrize(
    "options",
    [
        {"image_size": 8, "batch_size": 2},
        {"augmentation_fn": lambda image: tf.image.resize(image, [8, 8]), "batch_size": 2},
        {"image_size": 8, "cache_dir": True},
    ],
)
def test_bad_files_are_left_out_however_images_are_made(spoiled, tmp_path, elements, options):
    report = BadSampleReport()
    if "cache_dir" in options:
        options = options | {"cache_dir": tmp_path / "cache"}
    found = elements(ImageClassificationRawDataset(spoiled, num_epochs=1, **options), report=report)
    assert sum(np.size(element["label"]) for element in found) == 5
    assert len(report.names) == 4


def test_bad_files_do_not_reach_preprocess_fn(spoiled, batches):
    def preprocess_fn(image_name, image_buf, label, label_desc):
        return image_name, tf.strings.length(image_buf), label, label_desc

    def input_fn(_mode):
        dataset = ImageClassificationRawDataset(spoiled, batch_size=2, preprocess_fn=preprocess_fn, num_epochs=1)
        return dataset.get(["image_name"])

    assert [len(names) for (names,) in batches(input_fn)] == [2, 2, 1]


def test_on_bad_image_raise_ends_the_run_with_the_name(spoiled, flowers, batches):
    def input_fn(_mode):
        dataset = ImageClassificationRawDataset(spoiled, image_size=8, shuffle=False, on_bad_image="raise")
        return dataset.get(["image", "label"])

    with pytest.raises(DataError) as caught:
        batches(input_fn, batch_size=3)
    name = str(flowers / "daisy" / "daisy_1.jpg")
    assert str(caught.value) == f"{name!r} cannot be read: it is damaged, empty, or of no known format."


def test_a_set_without_one_readable_image_ends_the_run(flowers, batches):
    for path in flowers.glob("*/*"):
        path.write_text("no image")

    def input_fn(_mode):
        return ImageClassificationRawDataset(ImageClassificationRawMetadata(flowers), image_size=8).get(["image"])

    with pytest.raises(DataError, match="none of the 9 samples could be read"):
        batches(input_fn, batch_size=3)

    def moved(mode):
        reads = input_fn(mode)
        for path in flowers.glob("*/*"):
            path.unlink(missing_ok=True)
        return reads

    with pytest.raises(DataError, match=r"could be read, from '.*' on \(No such file or directory\)\. Check that"):
        batches(moved, batch_size=3)
