"""ImageClassificationRawDataset: what `get` gives, and what each argument does."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import mox_core as mox
from mox_core.engine.input.order import Order
from mox_core.errors import DataError, UsageError
from mox_core.sdk import BadSampleReport
from mox_datasets_raw.classification import ImageClassificationRawDataset, ImageClassificationRawMetadata

ALL = {f"{kind}_{number}" for kind, count in (("daisy", 3), ("roses", 2), ("tulips", 4)) for number in range(count)}


@pytest.fixture
def meta(flowers):
    return ImageClassificationRawMetadata(flowers)


def stem(element):
    return element["image_name"].decode().partition(".")[0]


def test_each_image_comes_with_its_label_its_class_and_its_file_name(meta, flowers, elements):
    found = elements(ImageClassificationRawDataset(meta, num_epochs=1, shuffle=False))
    assert [stem(element) for element in found] == sorted(ALL)
    for element in found:
        kind = stem(element).partition("_")[0]
        assert element["label_desc"] == kind.encode()
        assert element["label"] == ["daisy", "roses", "tulips"].index(kind)
        assert element["label"].dtype == np.int64
        path = flowers / kind / element["image_name"].decode()
        np.testing.assert_array_equal(element["image"], np.asarray(Image.open(path)))


def test_the_shapes_are_known_as_far_as_the_files_allow(meta):
    source = ImageClassificationRawDataset(meta).source()
    spec = source.dataset(order=Order(seed=1), start=0, needed=None, report=BadSampleReport()).element_spec[1]
    assert spec["image"] == tf.TensorSpec([None, None, 3], tf.uint8)
    assert spec["label"] == tf.TensorSpec([], tf.int64)
    assert spec["label_desc"] == tf.TensorSpec([], tf.string)
    assert spec["image_name"] == tf.TensorSpec([], tf.string)


def test_shuffle_gives_each_epoch_an_order_of_the_whole_set(meta, elements):
    names = [stem(element) for element in elements(ImageClassificationRawDataset(meta, num_epochs=3))]
    epochs = [names[:9], names[9:18], names[18:]]
    assert all(set(epoch) == ALL for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs} | {tuple(sorted(ALL))}) == 4
    # Classes are mixed, with shuffle_buffer_size=1 too: there is no buffer.
    first = elements(ImageClassificationRawDataset(meta, num_epochs=1, shuffle_buffer_size=1))
    assert [stem(element) for element in first] == epochs[0]


def test_without_num_epochs_it_does_not_end(meta, elements):
    assert len(elements(ImageClassificationRawDataset(meta), limit=25)) == 25


def test_image_size_takes_the_nearest_pixels(meta, flowers, elements):
    found = elements(ImageClassificationRawDataset(meta, image_size=(10, 15), num_epochs=1, shuffle=False))
    assert {element["image"].shape for element in found} == {(10, 15, 3)}
    # daisy_0.png is 20 x 30: at half the size the centre of a new pixel lies between two old ones; the second is taken.
    original = np.asarray(Image.open(flowers / "daisy" / "daisy_0.png"))
    np.testing.assert_array_equal(found[0]["image"], original[1::2, 1::2])
    assert found[0]["image"].dtype == np.uint8


def test_image_size_may_be_the_side_of_a_square(meta, elements):
    for side in (8, np.int64(8)):
        assert elements(ImageClassificationRawDataset(meta, image_size=side), limit=1)[0]["image"].shape == (8, 8, 3)


def test_augmentation_fn_is_called_with_single_images(meta, elements):
    seen = []

    def augmentation_fn(image):
        seen.append(image.shape.as_list())
        return tf.cast(tf.image.resize_with_crop_or_pad(image, 12, 12), tf.float32) / 255

    found = elements(ImageClassificationRawDataset(meta, batch_size=4, num_epochs=1, augmentation_fn=augmentation_fn))
    assert [element["image"].shape for element in found] == [(4, 12, 12, 3), (4, 12, 12, 3), (1, 12, 12, 3)]
    assert found[0]["image"].max() <= 1
    assert all(shape == [None, None, 3] for shape in seen)


def test_augmentation_fn_comes_after_image_size(meta, elements):
    dataset = ImageClassificationRawDataset(meta, image_size=6, augmentation_fn=tf.image.flip_left_right, num_epochs=1)
    plain = ImageClassificationRawDataset(meta, image_size=6, num_epochs=1)
    for flipped, straight in zip(elements(dataset), elements(plain), strict=True):
        np.testing.assert_array_equal(flipped["image"], straight["image"][:, ::-1])


def test_drop_remainder_leaves_the_short_batch_out(meta, elements):
    dataset = ImageClassificationRawDataset(meta, batch_size=4, image_size=8, num_epochs=1, drop_remainder=True)
    assert [element["image"].shape for element in elements(dataset)] == [(4, 8, 8, 3)] * 2


def test_label_one_hot_gives_a_vector(meta, elements):
    dataset = ImageClassificationRawDataset(meta, label_one_hot=True, num_epochs=1, shuffle=False)
    labels = np.stack([element["label"] for element in elements(dataset)])
    np.testing.assert_array_equal(labels, np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 1, 2, 2, 2, 2]])
    assert labels.dtype == np.float32


def test_redirect_dir_is_where_the_images_are_read_from(flowers, tmp_path, elements):
    copy = tmp_path / "copy"
    shutil.copytree(flowers, copy)
    for path in flowers.glob("*/*"):
        path.write_bytes(b"")
    meta = ImageClassificationRawMetadata(flowers, redirect_dir=copy)
    assert {stem(element) for element in elements(ImageClassificationRawDataset(meta, num_epochs=1))} == ALL


def test_a_file_name_need_not_be_text(flowers, elements):
    path = bytes(flowers / "roses") + b"/\xff\xfe.png"
    shutil.copyfile(flowers / "roses" / "roses_0.png", path)
    meta = ImageClassificationRawMetadata(flowers)
    found = elements(ImageClassificationRawDataset(meta, num_epochs=1))
    assert len(found) == 10
    assert b"\xff\xfe.png" in {element["image_name"] for element in found}


def test_get_gives_features_in_the_order_of_the_keys(meta, batches):
    def input_fn(_mode):
        dataset = ImageClassificationRawDataset(meta, num_epochs=1, shuffle=False, image_size=8)
        return dataset.get(["image_name", "label", "image"])

    names, labels, images = batches(input_fn, batch_size=9)[0]
    assert [name.decode().partition(".")[0] for name in names] == sorted(ALL)
    assert labels.tolist() == [0, 0, 0, 1, 1, 2, 2, 2, 2]
    assert images.shape == (9, 8, 8, 3)


def test_two_calls_of_get_give_features_of_the_same_image(meta, batches):
    dataset = ImageClassificationRawDataset(meta, num_epochs=1)

    def input_fn(_mode):
        (label,) = dataset.get(["label"])
        label_desc, again = dataset.get(["label_desc", "label"])
        return label, label_desc, again

    for _ in range(2):  # a data set made outside serves several calls of input_fn
        labels, descs, again = batches(input_fn, batch_size=9)[0]
        assert labels.tolist() == again.tolist()
        assert [["daisy", "roses", "tulips"][label] for label in labels] == [desc.decode() for desc in descs]


def test_batch_size_of_the_data_set_makes_whole_batches(meta, batches):
    def input_fn(_mode):
        dataset = ImageClassificationRawDataset(meta, batch_size=4, image_size=8, num_epochs=1)
        return dataset.get(["image", "label"])

    assert [images.shape[0] for images, _ in batches(input_fn)] == [4, 4, 1]


def test_preprocess_fn_takes_the_bytes_of_a_batch(meta, flowers, batches):
    def preprocess_fn(image_name, image_buf, label, label_desc):
        assert image_name.shape.rank == image_buf.shape.rank == label.shape.rank == label_desc.shape.rank == 1

        def decode(content):
            return tf.image.resize(tf.io.decode_image(content, 3, expand_animations=False), [6, 6])

        images = tf.map_fn(decode, image_buf, fn_output_signature=tf.TensorSpec([6, 6, 3], tf.float32))
        return image_name, images, label + 10, tf.strings.upper(label_desc)

    def input_fn(_mode):
        dataset = ImageClassificationRawDataset(
            meta, batch_size=9, preprocess_fn=preprocess_fn, num_epochs=1, shuffle=False
        )
        return dataset.get(["image", "label", "label_desc", "image_name"])

    images, labels, descs, names = batches(input_fn)[0]
    assert labels.tolist() == [10, 10, 10, 11, 11, 12, 12, 12, 12]
    assert descs.tolist() == [b"DAISY"] * 3 + [b"ROSES"] * 2 + [b"TULIPS"] * 4
    original = np.asarray(Image.open(flowers / "daisy" / names[0].decode())).astype(np.float32)
    np.testing.assert_allclose(images[0], tf.image.resize(original, [6, 6]), atol=1e-3)


def test_preprocess_fn_takes_the_bytes_of_one_image_without_batch_size(meta, flowers, batches):
    def preprocess_fn(image_name, image_buf, label, label_desc):
        return image_name, tf.strings.length(image_buf), label, label_desc

    def input_fn(_mode):
        dataset = ImageClassificationRawDataset(meta, preprocess_fn=preprocess_fn, num_epochs=1, shuffle=False)
        return dataset.get(["image", "image_name"])

    lengths, names = batches(input_fn, batch_size=3)[0]
    assert lengths.tolist() == [(flowers / "daisy" / name.decode()).stat().st_size for name in names]


def test_batches_of_images_as_they_are_need_files_of_one_size_and_say_so(tmp_path, batches, caplog):
    (tmp_path / "kind").mkdir()
    for number in range(3):
        Image.fromarray(np.full((2, 3, 3), number, np.uint8)).save(tmp_path / "kind" / f"{number}.png")
    logger = tf.get_logger()
    logger.addHandler(caplog.handler)
    try:
        dataset = ImageClassificationRawDataset(
            ImageClassificationRawMetadata(tmp_path), batch_size=2, num_epochs=1, shuffle=False
        )
    finally:
        logger.removeHandler(caplog.handler)
    assert "has batch_size=2 and nothing that makes the images one size: the first image of" in caplog.messages[-1]
    found = [images for (images,) in batches(lambda _mode: dataset.get(["image"]))]
    assert [images[:, 1, 2, 0].tolist() for images in found] == [[0, 1], [2]]
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "kind" / "1.png")
    with pytest.raises(DataError, match=r"are not all of one shape .*resize them \(dataset argument image_size"):
        batches(lambda _mode: dataset.get(["image"]))


def test_the_reader_class_of_moxing_changes_nothing_and_another_one_is_refused(meta, elements):
    options = {"num_epochs": 1, "reader_class": mox.AsyncRawGenerator, "reader_kwargs": {"num_processes": 4}}
    names = [element["image_name"] for element in elements(ImageClassificationRawDataset(meta, **options))]
    assert names == [element["image_name"] for element in elements(ImageClassificationRawDataset(meta, num_epochs=1))]
    for other in (dict, mox.AsyncRawGenerator(), type("Own", (mox.AsyncRawGenerator,), {})):
        with pytest.raises(
            UsageError, match=r"^reader_class of ImageClassificationRawDataset is .*preprocess_fn, which gets"
        ):
            ImageClassificationRawDataset(meta, reader_class=other)


def test_arguments_that_tuned_threads_change_nothing(meta, elements):
    tuned = ImageClassificationRawDataset(
        meta,
        num_readers=1,
        capacity=1,
        preprocess_threads=1,
        private_num_threads=3,
        shuffle_buffer_size=2,
        num_epochs=1,
    )
    plain = ImageClassificationRawDataset(meta, num_epochs=1)
    assert [stem(element) for element in elements(tuned)] == [stem(element) for element in elements(plain)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0, "image_size": 8}, "batch_size of {name} is 0; it must be None or a whole number from 1."),
        ({"num_epochs": 2.5}, "num_epochs of {name} is 2.5; it must be None or a whole number from 1."),
        ({"num_readers": None}, "num_readers of {name} is None; it must be a whole number from 1."),
        ({"private_num_threads": -1}, "private_num_threads of {name} is -1; it must be a whole number from 0."),
        ({"shuffle": "no"}, "shuffle of {name} is 'no'; it must be True or False."),
        ({"on_bad_image": "ignore"}, "on_bad_image of {name} is 'ignore'; it must be 'skip' or 'raise'."),
        ({"augmentation_fn": "vgg"}, "augmentation_fn of {name} is 'vgg'; it must be None or a function."),
        (
            {"image_size": (8, 8, 3)},
            "image_size of {name} is (8, 8, 3); it must be None, the side of a square, or (height, width).",
        ),
        ({"image_size": 0}, "image_size of {name} is 0; it must be None, the side of a square, or (height, width)."),
        (
            {"preprocess_fn": print, "image_size": 8},
            (
                "{name} has preprocess_fn and image_size. preprocess_fn takes the file as it is and decodes it: "
                "resize and augment in there."
            ),
        ),
        (
            {"preprocess_fn": print, "augmentation_fn": print},
            (
                "{name} has preprocess_fn and augmentation_fn. preprocess_fn takes the file as it is and decodes it: "
                "resize and augment in there."
            ),
        ),
    ],
)
def test_a_wrong_argument_is_refused_by_name(meta, options, said):
    with pytest.raises(UsageError) as caught:
        ImageClassificationRawDataset(meta, **options)
    assert str(caught.value) == said.format(name="ImageClassificationRawDataset")


def test_a_path_in_place_of_the_metadata_is_refused(flowers):
    with pytest.raises(
        UsageError, match=r"metadata of .* is '.*'; it must be ImageClassificationRawMetadata\(base_dir=\.\.\.\)\."
    ):
        ImageClassificationRawDataset(str(flowers))


def test_an_unknown_key_is_refused_with_the_known_ones(meta):
    with pytest.raises(UsageError) as caught:
        ImageClassificationRawDataset(meta).get(["image", "labels"])
    assert str(caught.value) == (
        "unknown key 'labels'. Did you mean 'label'? "
        "ImageClassificationRawDataset knows 'image', 'label', 'label_desc', 'image_name'."
    )


def test_one_string_in_place_of_a_list_of_keys_is_refused(meta):
    with pytest.raises(UsageError) as caught:
        ImageClassificationRawDataset(meta).get("image")
    assert str(caught.value) == (
        "ImageClassificationRawDataset.get takes a list of names, like ['image', 'label'], not 'image'."
    )


def test_a_session_reads_the_images_of_a_folder_outside_of_a_run(flowers):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = ImageClassificationRawMetadata(base_dir=str(flowers))
        dataset = ImageClassificationRawDataset(meta, num_epochs=1, shuffle=False)
        image, label = dataset.get(["image", "label"])
        name, desc = dataset.get(["image_name", "label_desc"])
        assert (image.shape.as_list(), label.shape.rank) == ([None, None, 3], 0)
        read = [session.run([image, label, desc, name]) for _ in range(meta.total_num_samples)]
        with pytest.raises(tf.errors.OutOfRangeError):
            session.run(name)
    for pixels, number, desc_read, name_read in read:
        assert meta.labels_list[number] == desc_read.decode()
        with Image.open(flowers / desc_read.decode() / name_read.decode()) as file:
            assert (np.asarray(file.convert("RGB")) == pixels).all()
    assert len({(desc_read, name_read) for *_, desc_read, name_read in read}) == meta.total_num_samples


def test_eagerly_each_call_of_get_gives_the_next_image_as_preprocess_fn_makes_it(meta):
    def preprocess_fn(image_name, image_buf, label, label_desc):
        return image_name, tf.strings.length(image_buf), label, label_desc

    dataset = ImageClassificationRawDataset(meta, preprocess_fn=preprocess_fn, num_epochs=1, shuffle=False)
    read = [dataset.get(["image", "label", "image_name"]) for _ in range(meta.total_num_samples)]
    for length, label, name in read:
        assert (Path(meta.base_dir) / meta.labels_list[int(label)] / name.numpy().decode()).stat().st_size == length
    with pytest.raises(tf.errors.OutOfRangeError, match="all of its epochs are read"):
        dataset.get(["image"])


def test_an_augmentation_that_leaves_the_size_open_is_refused_with_batch_size(meta):
    dataset = ImageClassificationRawDataset(meta, batch_size=4, augmentation_fn=lambda image: image)
    with pytest.raises(UsageError, match=r"gives images of shape \(None, None, 3\), and batch_size=4 needs one size\."):
        dataset.source().dataset(order=Order(seed=1), start=0, needed=None, report=BadSampleReport())


def test_a_preprocess_fn_that_does_not_return_four_tensors_is_refused(meta, batches):
    def input_fn(_mode):
        dataset = ImageClassificationRawDataset(meta, preprocess_fn=lambda *given: given[1])
        return dataset.get(["image"])

    with pytest.raises(UsageError, match="it must return four tensors: image_name, image, label, label_desc"):
        batches(input_fn, batch_size=2)
