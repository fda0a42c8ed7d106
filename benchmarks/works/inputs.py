"""Input: records, images, files; the model does next to nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from PIL import Image
from work import Work, seconds_a_step

import mox_core as mox
from works import folders, timing

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = 20_000
LARGE_RECORD, LARGE_RECORDS = 30_000, 8_000
SMALL = {
    "numbers": tf.io.FixedLenFeature([40], tf.float32),
    "codes": tf.io.FixedLenFeature([10], tf.int64),
    "label": tf.io.FixedLenFeature([], tf.int64),
}
LARGE = {"bytes": tf.io.FixedLenFeature([], tf.string)}
FILES = 65_000


def _write_records(folder: Path, count: int, make) -> None:
    random = np.random.default_rng(0)
    for shard in range(4):
        with tf.io.TFRecordWriter(str(folder / f"{shard}.tfrecord")) as writer:
            for _ in range(count // 4):
                writer.write(make(random).SerializeToString())


def _example(**features) -> tf.train.Example:
    return tf.train.Example(features=tf.train.Features(feature=features))


def _small_example(random) -> tf.train.Example:
    return _example(
        numbers=tf.train.Feature(float_list=tf.train.FloatList(value=random.normal(size=40))),
        codes=tf.train.Feature(int64_list=tf.train.Int64List(value=random.integers(0, 9, 10))),
        label=tf.train.Feature(int64_list=tf.train.Int64List(value=[random.integers(0, 10)])),
    )


def _large_example(random) -> tf.train.Example:
    return _example(bytes=tf.train.Feature(bytes_list=tf.train.BytesList(value=[random.bytes(LARGE_RECORD)])))


def _consume(inputs, mode) -> mox.ModelSpec:
    """A model that reads all of its input, and does little else."""
    del mode
    weight = tf.compat.v1.get_variable("weight", initializer=0.0)
    read = tf.add_n([tf.reduce_mean(tf.cast(_numbers(each), tf.float32)) for each in tf.nest.flatten(inputs)])
    loss = weight * weight + 0 * read
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})


def _numbers(tensor: tf.Tensor) -> tf.Tensor:
    return tf.strings.length(tensor) if tensor.dtype == tf.string else tensor


def _consumed_by_hand(data: tf.data.Dataset, batch: int, steps: int) -> float:
    """Return the seconds a sample of a loop that reads batches and does little else."""
    iterator = iter(data)

    @tf.function
    def some_steps(iterator):
        total = tf.constant(0.0)
        for _ in tf.range(steps):
            values = tf.nest.flatten(next(iterator))
            total += tf.add_n([tf.reduce_mean(tf.cast(_numbers(each), tf.float32)) for each in values])
        return total

    return seconds_a_step(lambda: float(some_steps(iterator)), steps) / batch


def _records_of_mox(features, *, shuffle: bool, batch: int, steps: int):
    def measure(folder: Path) -> float:
        def input_fn(_mode):
            handlers = {name: mox.tfexample_decoder.Tensor(name) for name in features}
            data = mox.get_tfrecord(
                str(folder), "*.tfrecord", keys_to_features=features, items_to_handlers=handlers, shuffle=shuffle
            )
            return tuple(data.get(list(features)))

        return timing.train(input_fn, _consume, steps=steps, batch_size=batch) / batch

    return measure


def _records_by_hand(features, *, buffer: int, batch: int, steps: int):
    def measure(folder: Path) -> float:
        files = sorted(map(str, folder.glob("*.tfrecord")))
        data = tf.data.TFRecordDataset(files, num_parallel_reads=4 if buffer else None)
        data = (data.shuffle(buffer) if buffer else data).repeat().batch(batch, drop_remainder=True)
        data = data.map(lambda records: tf.io.parse_example(records, features), num_parallel_calls=tf.data.AUTOTUNE)
        return _consumed_by_hand(data.prefetch(tf.data.AUTOTUNE), batch, steps)

    return measure


def _count_of_mox(folder: Path) -> float:
    began = time.perf_counter()
    count = mox.BaseTFRecordMetadata(str(folder), "*.tfrecord").num_samples
    if count != RECORDS:
        raise RuntimeError(f"{count} records are counted, and {RECORDS} were written")
    return (time.perf_counter() - began) / RECORDS


def _count_by_headers(folder: Path) -> float:
    """Length, checksum, data, checksum: from header to header."""
    began, count = time.perf_counter(), 0
    for path in folder.glob("*.tfrecord"):
        with path.open("rb") as file:
            while header := file.read(12):
                file.seek(int.from_bytes(header[:8], "little") + 4, 1)
                count += 1
    return (time.perf_counter() - began) / count


def _count_by_reduce(folder: Path) -> float:
    began = time.perf_counter()
    data = tf.data.TFRecordDataset(sorted(map(str, folder.glob("*.tfrecord"))))
    count = int(data.reduce(np.int64(0), lambda count, _: count + 1))
    return (time.perf_counter() - began) / count


def _photographs(height: int, width: int, count: int):
    """Return what writes smooth noise as JPEG: its size in bytes is that of photographs."""

    def prepare(folder: Path) -> None:
        random = np.random.default_rng(0)
        for number in range(count):
            small = Image.fromarray(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8))
            path = folder / "photographs" / str(number % 4) / f"{number}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            small.resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)

    return prepare


def _cropped_by_mox(steps: int, *, dct_scaling: bool = False):
    def measure(folder: Path) -> float:
        meta = mox.ImageClassificationRawMetadata(base_dir=str(folder / "photographs"))

        def input_fn(mode):
            dataset = mox.ImageClassificationRawDataset(meta, dct_scaling=dct_scaling)
            image, label = dataset.get(["image", "label"])
            augment = mox.get_data_augmentation_fn("resnet_v1_50", run_mode=mode, output_height=224, output_width=224)
            return augment(image), label

        return timing.train(input_fn, _consume, steps=steps, windows=4, batch_size=32) / 32

    return measure


def _region(shape: tf.Tensor) -> tf.Tensor:
    """The region of the VGG scheme: the smaller side becomes 256 to 512, of which 224 x 224 is cropped."""
    side = tf.random.uniform([], 256, 513, tf.int32)
    size = tf.minimum(224 * tf.reduce_min(shape[:2]) // side, tf.reduce_min(shape[:2]))
    top = tf.random.uniform([], 0, shape[0] - size + 1, tf.int32)
    left = tf.random.uniform([], 0, shape[1] - size + 1, tf.int32)
    return tf.stack([top, left, size, size])


def _naive(content: tf.Tensor) -> tf.Tensor:
    image = tf.cast(tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"), tf.float32)
    top, left, height, width = tf.unstack(_region(tf.shape(image)))
    return image[top : top + height, left : left + width]


def _fused(content: tf.Tensor) -> tf.Tensor:
    region = _region(tf.io.extract_jpeg_shape(content))
    image = tf.io.decode_and_crop_jpeg(content, region, channels=3, dct_method="INTEGER_ACCURATE")
    return tf.cast(image, tf.float32)


def _cropped_by_hand(crop, steps: int):
    def measure(folder: Path) -> float:
        def load(content):
            return tf.image.random_flip_left_right(tf.image.resize(crop(content), [224, 224]))

        return _consumed_by_hand(folders.by_hand(folder / "photographs", load, batch=32), 32, steps)

    return measure


def _keras_folder(steps: int):
    def measure(folder: Path) -> float:
        import keras

        data = keras.utils.image_dataset_from_directory(
            folder / "photographs", image_size=(224, 224), batch_size=32, verbose=False
        )
        return _consumed_by_hand(data.unbatch().repeat().batch(32).prefetch(2), 32, steps)

    return measure


def _records(name: str, title: str, number: int, make, features, *, buffer: int = 0, batch: int, steps: int) -> Work:
    """Return a work on records, shuffled where there is a buffer: mox shuffles the whole set."""
    return Work(
        name=name,
        title=title,
        unit="record",
        prepare=lambda folder: _write_records(folder, number, make),
        contenders={
            "mox": _records_of_mox(features, shuffle=buffer > 0, batch=batch, steps=steps),
            "TFRecordDataset by hand": _records_by_hand(features, buffer=buffer, batch=batch, steps=steps),
        },
    )


def _images(name: str, height: int, width: int, *, count: int, steps: int, scaled: bool = False) -> Work:
    """Return a work on images, with `dct_scaling` too where crops are shrunk to half or less."""
    smaller = {"mox, dct_scaling": _cropped_by_mox(steps, dct_scaling=True)} if scaled else {}
    return Work(
        name=name,
        title=f"JPEG {width}x{height} to 224x224 by the scheme of VGG (Keras: only resized)",
        unit="sample",
        prepare=_photographs(height, width, count),
        contenders={
            "mox": _cropped_by_mox(steps),
            **smaller,
            "decode, cast, crop by hand": _cropped_by_hand(_naive, steps),
            "fused decode and crop by hand": _cropped_by_hand(_fused, steps),
            "keras image_dataset_from_directory": _keras_folder(steps),
        },
    )


def _tiny_images(folder: Path) -> None:
    random = np.random.default_rng(0)
    for number in range(5000):
        path = folder / "tiny" / str(number % 10) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (8, 8, 3), np.uint8)).save(path)


def _flipped(image: tf.Tensor) -> tf.Tensor:
    return tf.image.random_flip_left_right(tf.cast(tf.ensure_shape(image, [8, 8, 3]), tf.float32))


def _tiny_by_mox(folder: Path) -> float:
    meta = mox.ImageClassificationRawMetadata(base_dir=str(folder / "tiny"))

    def input_fn(_mode):
        image, label = mox.ImageClassificationRawDataset(meta).get(["image", "label"])
        return _flipped(image), label

    return timing.train(input_fn, _consume, steps=200, batch_size=32) / 32


def _tiny_by_hand(folder: Path) -> float:
    def load(content):
        return _flipped(tf.io.decode_png(content, channels=3))

    return _consumed_by_hand(folders.by_hand(folder / "tiny", load, batch=32), 32, 200)


def _many_files(folder: Path) -> None:
    for number in range(FILES):
        path = folder / "many" / f"{number % 100:03}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < 100:
            Image.new("RGB", (32, 32)).save(path)
        else:
            path.hardlink_to(path.with_name(f"{number % 100}.jpg"))


def _listed_by_mox(folder: Path) -> float:
    began = time.perf_counter()
    meta = mox.ImageClassificationRawMetadata(base_dir=str(folder / "many"))

    def input_fn(_mode):
        return mox.ImageClassificationRawDataset(meta).get(["image", "label"])

    mox.run(
        input_fn=input_fn,
        model_fn=_consume,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.01),
        batch_size=32,
        run_mode=mox.ModeKeys.TRAIN,
        max_number_of_steps=1,
    )
    return time.perf_counter() - began


def _listed_by_keras(folder: Path) -> float:
    import keras

    began = time.perf_counter()
    data = keras.utils.image_dataset_from_directory(folder / "many", image_size=(32, 32), batch_size=32, verbose=False)
    next(iter(data))
    return time.perf_counter() - began


WORKS = [
    _records(
        "records_in_order", "Records of 30 kB, in order", LARGE_RECORDS, _large_example, LARGE, batch=32, steps=500
    ),
    _records(
        "records_shuffled",
        "Records of 30 kB, shuffled (mox: the whole set; by hand: a buffer of 2,000)",
        LARGE_RECORDS,
        _large_example,
        LARGE,
        buffer=2000,
        batch=32,
        steps=500,
    ),
    _records(
        "small_records",
        "Records of 40 floats, 10 ints and a label, shuffled, batches of 512",
        RECORDS,
        _small_example,
        SMALL,
        buffer=2000,
        batch=512,
        steps=100,
    ),
    Work(
        name="counting",
        title="Counting 20,000 records",
        unit="record",
        prepare=lambda folder: _write_records(folder, RECORDS, _small_example),
        contenders={"mox": _count_of_mox, "headers by hand": _count_by_headers, "reduce": _count_by_reduce},
    ),
    _images("jpeg_500x375", 375, 500, count=256, steps=20),
    _images("jpeg_2000x1500", 1500, 2000, count=64, steps=4, scaled=True),
    Work(
        name="png_8x8",
        title="PNG 8x8, flipped at random: what a sample costs beside its image",
        unit="sample",
        prepare=_tiny_images,
        contenders={"mox": _tiny_by_mox, "decode and flip by hand": _tiny_by_hand},
    ),
    Work(
        name="listing",
        title=f"{FILES:,} files in 100 classes, listed, to the first batch",
        unit="run",
        prepare=_many_files,
        contenders={"mox": _listed_by_mox, "keras image_dataset_from_directory": _listed_by_keras},
    ),
]
