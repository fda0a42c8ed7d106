"""Names of files through the model, into a list: as bytes, and as numbers for devices that know no strings.

    python examples/strings.py [folder]

A folder of pictures, each of one grey, with names in several scripts. Predicting gives each picture's name beside how
bright the model finds it. TensorFlow keeps strings on the CPU by itself, so names as they are will do where `model_fn`
only hands them on. As numbers they pass everywhere: one for each byte of the name in UTF-8. Names differ in length, and
mox fills up the shorter ones of a batch with zeros.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

import mox_core as mox

PICTURES = {
    "dark/night.png": 20,
    "dark/黄昏.png": 90,
    "dark/Dämmerung.png": 110,
    "light/полдень.png": 200,
    "light/朝.png": 150,
    "light/a cloudless sky at noon.png": 250,
}


def write_pictures(folder: Path) -> None:
    for name, grey in PICTURES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)


def make_input_fn(pictures: Path):
    meta = mox.ImageClassificationRawMetadata(base_dir=pictures)

    def input_fn(mode):
        training = mode == mox.ModeKeys.TRAIN
        dataset = mox.ImageClassificationRawDataset(meta, shuffle=training, num_epochs=None if training else 1)
        image, label, name = dataset.get(["image", "label", "image_name"])
        image.set_shape([8, 8, 3])
        sequence = tf.compat.v1.py_func(mox.bytes_to_sequence, inp=[name], Tout=tf.int64)
        sequence.set_shape([None])  # rank 1, of any length: mox makes rows of one length in each batch
        return image, label, name, sequence

    return input_fn


def model_fn(inputs, mode):
    """How sure the model is that a picture is of the second class, 'light'."""
    del mode
    images, labels, names, sequences = inputs
    brightness = tf.reduce_mean(tf.cast(images, tf.float32) / 255, axis=[1, 2, 3])
    slope = tf.compat.v1.get_variable("slope", [], initializer=tf.compat.v1.zeros_initializer())
    height = tf.compat.v1.get_variable("height", [], initializer=tf.compat.v1.zeros_initializer())
    logits = slope * (brightness - 0.5) + height
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(labels, tf.float32), logits=logits))
    return mox.ModelSpec(
        loss=loss,
        log_info={"loss": loss},
        output_info={"name": names, "sequence": sequences, "light": tf.sigmoid(logits)},
    )


def main(folder: Path) -> list[tuple[str, str, float]]:
    pictures, log_dir = folder / "pictures", folder / "log"
    write_pictures(pictures)
    tf.random.set_seed(1)
    job = {"input_fn": make_input_fn(pictures), "model_fn": model_fn, "log_dir": log_dir}
    mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        optimizer_fn=mox.get_optimizer_fn("momentum", learning_rate=1.0, momentum=0.9),
        batch_size=6,
        max_number_of_steps=100,
        log_every_n_steps=50,
        **job,
    )
    rows: list[tuple[str, str, float]] = []

    def output_fn(outputs):
        for output in outputs:
            print(f"a batch of {len(output['name'])}: the numbers are an array of shape {output['sequence'].shape}")
            for name, sequence, light in zip(output["name"], output["sequence"], output["light"], strict=True):
                # Bytes both times: `.decode()` makes a str of them.
                rows.append((name.decode(), mox.sequence_to_bytes(sequence).decode(), float(light)))
                print(f"  {np.array2string(sequence[:5], separator=' ')}...  {rows[-1][1]}: light {light:.0%}")

    mox.run(run_mode=mox.ModeKeys.PREDICT, output_fn=output_fn, output_every_n_steps=1, batch_size=4, **job)
    return rows


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/strings"))
