"""Writes the files of `files/`: what a version of mox has left behind, for later versions to go on with.

    python tests/compatibility/write_files.py

`test_files_of_an_earlier_version.py` copies them, goes on with them, and compares with what the version that wrote them
gave. They stay as they are for as long as mox is to read them, so write them again only where their form changes on
purpose. To do so, take the last version of the old form in a tree of its own, change the training here if need be, and
run this script there: everything in `files/` is then of that version. It uses public names only, so that any version
can run it.

    images/train, images/eval      tiny images in folders by class
    records/                       those of images/train as TFRecords; TRAIN reads them
    log_dir/                       after 9 steps: checkpoint, `best`, and the counts of mox-tfrecord in `.mox`
    later/                         the checkpoints of steps 14 and 16 when that training goes on
    later_on_two_devices/          that of step 11 when it goes on on two devices, in a process of its own
    export/                        the model of step 9 for TensorFlow Serving
    expected.json                  names, types and shapes of variables; what TRAIN has seen and said; the means of
                                   EVAL; what the export answers

Nothing in them depends on where they lie: the counts of mox-tfrecord are by absolute path and time of change, so the
paths are kept below `FILES`, and the times are `TIME`.
"""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

import mox_core as mox

FILES = Path(__file__).with_name("files")
TIME = 1_700_000_000 * 10**9
CLASSES = ("blue", "green", "red")
TRAINED, HELD_OUT, SIZE, BATCH = 13, 6, 6, 4  # with batches of 4, no epoch ends where a batch does
FIRST, LATER, LAST, ON_TWO_DEVICES = 9, 14, 16, 11
FLAGS = ["--loss_scale=dynamic"]


# ---- the training


def make_input_fn(files):
    """Random operations on records to train, raw images in their order to evaluate."""

    def input_fn(mode):
        if mode == mox.ModeKeys.TRAIN:
            meta = mox.ImageClassificationTFRecordMetadata(files / "records", "*.tfrecord")
            dataset = mox.ImageClassificationTFRecordDataset(meta, image_size=SIZE)
        else:
            meta = mox.ImageClassificationRawMetadata(files / "images" / "eval")
            dataset = mox.ImageClassificationRawDataset(meta, image_size=SIZE, shuffle=False, num_epochs=1)
        image, label, name = dataset.get(["image", "label", "image_name"])
        image = tf.cast(image, tf.float32) / 255
        if mode == mox.ModeKeys.TRAIN:
            image = tf.image.random_brightness(tf.image.random_flip_left_right(image), 0.2)
        return image, label, name

    return input_fn


def model_fn(inputs, mode):
    """Variables of each kind, two losses, hooks that remember something, and whatever draws random numbers."""
    images, labels, names = inputs
    training = mode == mox.ModeKeys.TRAIN
    with tf.compat.v1.variable_scope("network"):
        x = keras.layers.Conv2D(4, 3, use_bias=False)(images)
        x = tf.nn.relu(keras.layers.BatchNormalization(momentum=0.9)(x, training=training))
        x = keras.layers.Dropout(0.25)(tf.reshape(x, [-1, 64]), training=training)
        x = tf.nn.dropout(x, 0.1) if training else x
        weights = tf.compat.v1.get_variable("weights", [64, len(CLASSES)])
        logits = x @ weights + tf.compat.v1.get_variable("biases", initializer=tf.zeros([len(CLASSES)]))
    with tf.compat.v1.variable_scope("brightness"):
        guess = keras.layers.Dense(1)(tf.reshape(images, [-1, 3 * SIZE**2]))
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    error = tf.reduce_mean((guess[:, 0] - tf.reduce_mean(images, [1, 2, 3])) ** 2)
    accuracy = tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == labels, tf.float32))
    # Once too large for the loss scale, which is halved and skips the step.
    spoiled = loss * tf.where(tf.compat.v1.train.get_global_step() == 2, 1e36, 1.0)
    info = {"loss": loss, "error": error, "accuracy": accuracy}
    schedule = {"batch_size": BATCH, "samples_in_train": TRAINED, "samples_in_eval": HELD_OUT}
    keeps_best = mox.get_flag("num_gpus") == 1  # on two devices the version that wrote the files refused it
    return mox.ModelSpec(
        loss=[spoiled, error],
        var_scopes=[["network"], ["brightness"]],
        log_info=info,
        output_info={"name": names, "loss": loss, "error": error},
        export_spec=mox.ExportSpec({"images": images}, {"logits": logits, "brightness": guess}),
        hooks=[
            mox.EarlyStoppingHook(info, "error", patience=50, restore_best_weights=keeps_best, **schedule),
            mox.EarlyStoppingHook(info, "accuracy", patience=50, prefix="[Second]", **schedule),
            mox.PlateauLREarlyStoppingHook(
                info, "accuracy", patience=1, factor=0.5, plateaus_before_stop=50, **schedule
            ),
        ],
    )


def wrapped_adam():
    adam = mox.get_optimizer_fn("adam", learning_rate=0.02, epsilon=0.01)()
    patient = mox.get_optimizer_wrapper_fn("batch_gradients", adam, num_batches=3)()
    return mox.get_optimizer_wrapper_fn("easgd", patient, moving_rate=0.1, communication_period=5)()


def keras_momentum():
    return keras.optimizers.SGD(0.02, momentum=0.9)


@contextlib.contextmanager
def flags():
    """Puts the flags of the training on the command line."""
    before = sys.argv
    sys.argv = [*before, *FLAGS]
    try:
        yield
    finally:
        sys.argv = before


def train(files, log_dir, steps, **options):
    """Trains until the global step is `steps`; returns how it ended, and what the steps have seen."""
    windows = []
    with flags():
        result = mox.run(
            input_fn=make_input_fn(files),
            model_fn=model_fn,
            optimizer_fn=[wrapped_adam, keras_momentum],
            run_mode=mox.ModeKeys.TRAIN,
            inter_mode=mox.ModeKeys.EVAL,
            batch_size=BATCH,
            log_dir=log_dir,
            max_number_of_steps=steps,
            log_every_n_steps=3,
            save_model_steps=2,
            output_fn=windows.extend,
            output_every_n_steps=1,
            **options,
        )
    seen = {
        "names": [b" ".join(step["name"]).decode() for step in windows],
        "losses": [float(step["loss"]) for step in windows],
        "errors": [float(step["error"]) for step in windows],
    }
    return result, seen


def begin(files, log_dir, **options):
    """Trains from the beginning."""
    tf.random.set_seed(5)
    try:
        return train(files, log_dir, FIRST, **options)
    finally:
        tf.compat.v1.random.set_random_seed(None)


def evaluate(files, folder):
    """Returns the means of EVAL with the checkpoint of a folder."""
    result = mox.run(
        input_fn=make_input_fn(files),
        model_fn=model_fn,
        run_mode=mox.ModeKeys.EVAL,
        batch_size=BATCH,
        checkpoint_path=folder,
    )
    return {**result.metrics, "samples": result.samples, "global_step": result.global_step}


def train_on_two_devices(files, log_dir):
    """Trains on in a process of its own: devices are chosen once in a process."""
    program = [sys.executable, __file__, str(files), str(log_dir), "--num_gpus=2", "--clone_on_cpu=True"]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


# ---- what is compared


def serve(folder):
    """Returns what the exported model answers."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    images = np.linspace(0, 1, 2 * 3 * SIZE**2, dtype=np.float32).reshape(2, SIZE, SIZE, 3)
    return {name: tensor.numpy().tolist() for name, tensor in signature(images=tf.constant(images)).items()}


def described(prefix):
    """Returns type and shape of each variable of a checkpoint, by name."""
    reader = tf.train.load_checkpoint(str(prefix))
    types, shapes = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
    return {name: f"{types[name].name} {shapes[name]}" for name in sorted(types)}


@contextlib.contextmanager
def lines():
    """Collects the lines of the log."""
    found = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(f"{record.levelname}: {record.getMessage()}")
    tf.get_logger().addHandler(handler)
    try:
        yield found
    finally:
        tf.get_logger().removeHandler(handler)


def move_counts(log_dir, old, new):
    """Lets the counts of mox-tfrecord be those of files in another folder; everything else in them stays."""
    file = log_dir / ".mox" / "tfrecords.npz"
    with np.load(file, allow_pickle=False) as stored:
        arrays = dict(stored)
    moved = [os.fsencode(str(new) + os.fsdecode(path).removeprefix(str(old))) for path in arrays["paths"].tolist()]
    np.savez_compressed(file, **arrays | {"paths": np.array(moved)})


def set_times(files):
    """Gives the records the time of change that the counts of mox-tfrecord know."""
    for path in (files / "records").glob("*.tfrecord"):
        os.utime(path, ns=(TIME, TIME))


# ---- writing the files


def write_images(files):
    random = np.random.default_rng(6)
    for part, count in (("train", TRAINED), ("eval", HELD_OUT)):
        for number in range(count):
            label = number % len(CLASSES)
            pixels = random.integers(0, 140, [SIZE, SIZE, 3]).astype(np.uint8)
            pixels[..., 2 - label] += 100
            path = files / "images" / part / CLASSES[label] / f"{number:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(pixels).numpy())


def write_records(files, folder):
    mox.write_image_classification_tfrecords(files / "images" / "train", folder, name="tiny", num_shards=2)


def copy_checkpoints(log_dir, steps, folder):
    folder.mkdir()
    for step in steps:
        for file in log_dir.glob(f"model.ckpt-{step}.*"):
            shutil.copy(file, folder)


def remove_unneeded(log_dir):
    """Leaves the newest checkpoint alone in a folder, without summaries."""
    newest = Path(tf.train.latest_checkpoint(str(log_dir))).name
    for file in [*log_dir.rglob("events.out.*"), *log_dir.glob("model.ckpt-*")]:
        if not file.name.startswith(f"{newest}."):
            file.unlink()
    if (log_dir / "eval").is_dir():
        (log_dir / "eval").rmdir()
    (log_dir / "checkpoint").write_text(
        f'model_checkpoint_path: "{newest}"\nall_model_checkpoint_paths: "{newest}"\n', encoding="utf-8"
    )


def write(files):
    write_images(files)
    write_records(files, files / "records")
    set_times(files)
    log_dir = files / "log_dir"
    first, seen_first = begin(files, log_dir, export_model=mox.ExportKeys.TF_SERVING)
    Path(first.export_path).rename(files / "export")
    remove_unneeded(log_dir)

    going_on, on_two = files / "going_on", files / "on_two"
    shutil.copytree(log_dir, going_on)
    shutil.copytree(log_dir, on_two)
    with lines() as said:
        last, seen_later = train(files, going_on, LAST)
    expected = {
        "variables": described(log_dir),
        "first": seen_first,
        "later": {**seen_later, "metrics": last.metrics, "said": [line for line in said if " step: " in line]},
        "later_on_two_devices": train_on_two_devices(files, on_two),
        "evaluated": {
            "log_dir": evaluate(files, log_dir),
            "best": evaluate(files, log_dir / "best"),
            "later": evaluate(files, going_on),
        },
        "served": serve(files / "export"),
    }
    (files / "expected.json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")
    copy_checkpoints(going_on, [LATER, LAST], files / "later")
    copy_checkpoints(on_two, [ON_TWO_DEVICES], files / "later_on_two_devices")
    shutil.rmtree(going_on)
    shutil.rmtree(on_two)
    move_counts(log_dir, files, "FILES")


def main():
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if arguments:
        files, log_dir = map(Path, arguments)
        _, seen = train(files, log_dir, ON_TWO_DEVICES)
        print(json.dumps(seen))
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        shutil.rmtree(FILES, ignore_errors=True)
        shutil.copytree(folder, FILES)


if __name__ == "__main__":
    main()
