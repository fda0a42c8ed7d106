"""Files that cannot be read: left out and named, or the end of the run."""

import numpy as np
import pytest
import tensorflow as tf

from mox_core.errors import DataError
from mox_core.sdk import BadSampleReport
from mox_datasets_raw.classification import ImageClassificationRawDataset, ImageClassificationRawMetadata


@pytest.fixture
def spoiled(flowers):
    """The nine images, four of which are cut off, empty, text, and a link to nowhere."""
    jpeg = flowers / "daisy" / "daisy_1.jpg"
    jpeg.write_bytes(jpeg.read_bytes()[:-40])
    (flowers / "roses" / "roses_0.png").write_bytes(b"")
    (flowers / "tulips" / "tulips_3.jpg").write_text("404 not found")
    (flowers / "tulips" / "tulips_2.png").unlink()
    (flowers / "tulips" / "tulips_2.png").symlink_to(flowers / "nowhere.png")
    return ImageClassificationRawMetadata(flowers)


BAD = ["daisy/daisy_1.jpg", "roses/roses_0.png", "tulips/tulips_2.png", "tulips/tulips_3.jpg"]


def test_bad_files_are_left_out_and_named(spoiled, flowers, elements):
    report = BadSampleReport()
    dataset = ImageClassificationRawDataset(spoiled, num_epochs=2, shuffle=False)
    names = [element["image_name"].decode() for element in elements(dataset, report=report)]
    assert names == ["daisy_0.png", "daisy_2.png", "roses_1.jpg", "tulips_0.png", "tulips_1.jpg"] * 2
    assert list(report.names) == [str(flowers / name) for name in BAD]


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
    assert str(caught.value) == f"{name!r} cannot be read: it is cut off, empty, or of no known format."


def test_a_set_without_one_readable_image_ends_the_run(flowers, batches):
    for path in flowers.glob("*/*"):
        path.write_text("no image")

    def input_fn(_mode):
        return ImageClassificationRawDataset(ImageClassificationRawMetadata(flowers), image_size=8).get(["image"])

    with pytest.raises(DataError, match="none of the 9 samples could be read"):
        batches(input_fn, batch_size=3)
