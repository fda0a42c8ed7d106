"""The models of the works, and the ways in which peers train them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from work import seconds_a_step

import mox_core as mox

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH = 32
STEPS_A_CALL = 50
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def mlp(inputs: int, *hidden: int, classes: int = 10) -> keras.Model:
    """A perceptron, which spends its time between steps rather than in them."""
    net = first = keras.Input((inputs,))
    for units in hidden:
        net = keras.layers.Dense(units, activation="relu")(net)
    return keras.Model(first, keras.layers.Dense(classes)(net))


def resnet() -> keras.Model:
    """Three stages of two basic blocks with 16, 32, 64 filters on 28 x 28 images."""
    inputs = keras.Input((28, 28, 3))
    net = keras.layers.Rescaling(1 / 255)(inputs)
    net = keras.layers.Conv2D(16, 3, padding="same", use_bias=False)(net)
    for filters in (16, 32, 64):
        for block in range(2):
            strides = 2 if filters > 16 and block == 0 else 1
            shortcut = net
            if strides == 2:
                shortcut = keras.layers.Conv2D(filters, 1, strides, use_bias=False)(shortcut)
            for number in range(2):
                net = keras.layers.BatchNormalization()(net)
                net = keras.layers.ReLU()(net)
                net = keras.layers.Conv2D(filters, 3, strides if number == 0 else 1, "same", use_bias=False)(net)
            net = keras.layers.Add()([net, shortcut])
    net = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(keras.layers.BatchNormalization()(net)))
    return keras.Model(inputs, keras.layers.Dense(10)(net))


def momentum() -> keras.Optimizer:
    """The optimizer of the peers; mox has its own of the same rule."""
    return keras.optimizers.SGD(0.01, momentum=0.9)


def accuracy_of(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """The part of a batch that is classified right."""
    return tf.reduce_mean(tf.cast(tf.argmax(logits, 1) == labels, tf.float32))


def model_fn_of(make: Callable[[], keras.Model]) -> Callable[[Any, str], mox.ModelSpec]:
    """Return the model_fn that trains a Keras model."""

    def model_fn(inputs, mode):
        images, labels = inputs
        logits = make()(images, training=mode == mox.ModeKeys.TRAIN)
        loss = LOSS(labels, logits)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss, "accuracy": accuracy_of(logits, labels)})

    return model_fn


def keras_fit(model: keras.Model, data: Any, steps: int, *, execution: int, **options: Any) -> float:
    """Return the seconds a step of `Model.fit` with some steps_per_execution."""
    model.compile(momentum(), LOSS, metrics=["accuracy"], steps_per_execution=execution)
    return seconds_a_step(lambda: model.fit(data, epochs=1, verbose=0, **options), steps)


def _step(model: keras.Model, optimizer: keras.optimizers.Optimizer, images: Any, labels: Any) -> tuple[Any, Any]:
    """One step of training that one would write by hand; returns loss and accuracy."""
    variables = model.trainable_variables
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = LOSS(labels, logits)
    optimizer.apply(tape.gradient(loss, variables), variables)
    return loss, accuracy_of(logits, labels)


def loop(model: keras.Model, data: tf.data.Dataset, steps: int) -> float:
    """Return the seconds a step of a loop that one would write by hand, with several steps in one function."""
    optimizer, iterator = momentum(), iter(data)
    optimizer.build(model.trainable_variables)
    execution = min(STEPS_A_CALL, steps)

    @tf.function
    def some_steps(iterator):
        loss = accuracy = tf.constant(0.0)
        for _ in tf.range(execution):
            images, labels = next(iterator)
            loss, accuracy = _step(model, optimizer, images, labels)
        return loss, accuracy

    def run_steps() -> None:
        for _ in range(steps // execution):
            loss, _ = some_steps(iterator)
        float(loss)

    return seconds_a_step(run_steps, steps)


def floor(model: keras.Model, data: tf.data.Dataset, steps: int) -> float:
    """Return the seconds a step of that loop on one batch again and again, without input and without Python."""
    optimizer = momentum()
    optimizer.build(model.trainable_variables)
    images, labels = next(iter(data))

    @tf.function
    def all_steps():
        loss = accuracy = tf.constant(0.0)
        for _ in tf.range(steps):
            loss, accuracy = _step(model, optimizer, images, labels)
        return loss, accuracy

    return seconds_a_step(lambda: float(all_steps()[0]), steps)
