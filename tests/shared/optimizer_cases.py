"""Optimizers that do more than to apply gradients, each with the same training as a plain loop of NumPy.

The tests run them on one device, and a process of two devices on both: what it is given in argv is the folder.
"""

import json
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import mox_core as mox
from checkpoints import values_of

v1 = tf.compat.v1
X = np.random.default_rng(7).normal(size=(40, 3)).astype(np.float32)
Y = (X @ np.array([[1.0], [2.0], [-1.0]]) + 0.3).astype(np.float32)
STEPS, RATE, LIMIT, DECAY = 6, 0.1, 0.5, 0.05


def input_fn(mode):
    data = tf.data.Dataset.from_tensor_slices((X, Y))
    return data.repeat() if mode == mox.ModeKeys.TRAIN else data


def plain_loop(on_gradient=lambda gradient, weights: gradient, on_weights=lambda weights: weights, every=1):  # noqa: ARG005
    """Gradient descent on the mean squared error from weights of 1, in NumPy."""
    weights, total = np.ones([3, 1]), 0.0
    for step in range(STEPS):
        rows = np.arange(8 * step, 8 * step + 8) % 40
        total = total + 2 * X[rows].T.astype(float) @ (X[rows] @ weights - Y[rows]) / 8
        if (step + 1) % every == 0:
            weights = on_weights(weights - RATE * on_gradient(total / every, weights))
            total = 0.0
    return weights.ravel()


def clipped(gradient, weights):
    del weights
    return gradient * min(1, LIMIT / np.linalg.norm(gradient))


def decayed(gradient, weights):
    return gradient + DECAY * weights


def shrunk(weights):
    """No projection: done twice, it would show."""
    return np.clip(weights, -0.7, 0.7) * 0.99


class Clipping(v1.train.GradientDescentOptimizer):
    def compute_gradients(self, *args, **kwargs):
        pairs = super().compute_gradients(*args, **kwargs)
        return [(gradient if gradient is None else tf.clip_by_norm(gradient, LIMIT), own) for gradient, own in pairs]


class Decaying(v1.train.GradientDescentOptimizer):
    def minimize(self, loss, global_step=None, var_list=None, **kwargs):
        penalty = tf.add_n([tf.nn.l2_loss(each) for each in v1.trainable_variables() if each.shape.rank])
        return super().minimize(loss + DECAY * penalty, global_step, var_list, **kwargs)


class Collecting(v1.train.GradientDescentOptimizer):
    def minimize(self, loss, global_step=None, var_list=None, **kwargs):
        collected = v1.get_collection(v1.GraphKeys.REGULARIZATION_LOSSES)
        return super().minimize(loss + tf.add_n(collected), global_step, var_list, **kwargs)


class Adding(v1.train.GradientDescentOptimizer):
    """Adds tensors that `model_fn` has made: those of a collection, or what it is given."""

    def __init__(self, rate, find=lambda: mox.get_collection("penalties")):
        super().__init__(rate)
        self.find = find

    def compute_gradients(self, loss, *args, **kwargs):
        return super().compute_gradients(tf.add_n([loss, *self.find()]), *args, **kwargs)


class AddingGradients(v1.train.GradientDescentOptimizer):
    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        gradients, variables = zip(*grads_and_vars, strict=True)
        more = tf.gradients(mox.get_collection("penalties"), variables)
        return super().apply_gradients(zip(map(tf.add, gradients, more), variables, strict=True), global_step, name)


class MinimizingOfKeras(keras.optimizers.SGD):
    def minimize(self, loss, var_list):
        variables = [each for each in var_list if each.shape.rank]
        gradients = tf.gradients(tf.add_n([loss, *mox.get_collection("penalties")]), variables)
        self.apply_gradients(zip(gradients, variables, strict=True))


class ByHand(v1.train.Optimizer):
    """As those of BERT and its like: it applies gradients without its base class."""

    def __init__(self):
        super().__init__(use_locking=False, name="by_hand")

    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        del global_step, name
        return tf.group(*[own.assign(own - RATE * gradient) for gradient, own in grads_and_vars])


class OfKeras(keras.optimizers.SGD):
    """The same for Keras: `apply` without that of its base class."""

    def apply(self, grads, trainable_variables=None):
        for gradient, own in zip(grads, trainable_variables, strict=True):
            own.assign(own - RATE * gradient)


class Shrunk(keras.constraints.Constraint):
    def __call__(self, w):
        return keras.ops.clip(w, -0.7, 0.7) * 0.99


def every_third(optimizer):
    return mox.get_optimizer_wrapper_fn("batch_gradients", optimizer, num_batches=3)()


def loss_scaled(**options):
    return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(RATE, **options))


def of_tf1_scaled():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = v1.train.GradientDescentOptimizer(RATE)
        return v1.mixed_precision.MixedPrecisionLossScaleOptimizer(plain, "dynamic")


def penalty(weights):
    return DECAY * tf.nn.l2_loss(weights)


def linear(inputs, constraint=None):
    weights = v1.get_variable("w", initializer=tf.ones([3, 1]), constraint=constraint, regularizer=penalty)
    v1.get_variable("unused", initializer=1.0)
    loss = tf.reduce_mean((inputs[0] @ weights - inputs[1]) ** 2)
    v1.add_to_collection("penalties", penalty(weights))
    KEPT.update(penalty=penalty(weights), of_samples=DECAY * loss)
    return mox.ModelSpec(loss=loss)


def plain_model(inputs, mode):
    del mode
    return linear(inputs)


def constrained_model(inputs, mode):
    del mode
    return linear(inputs, lambda w: tf.clip_by_value(w, -0.7, 0.7) * 0.99)


def constrained_layer(inputs, mode):
    del mode
    layer = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", kernel_constraint=Shrunk(), name="d")
    return mox.ModelSpec(loss=tf.reduce_mean((layer(inputs[0]) - inputs[1]) ** 2))


KEPT = {}  # what the last call of `linear` has made
DYNAMIC = {"loss_scale": "dynamic"}
# name: optimizer_fn, flags, expected
GRADIENTS = {
    "compute_gradients": (lambda: Clipping(RATE), {}, lambda: plain_loop(clipped)),
    "minimize": (lambda: Decaying(RATE), {}, lambda: plain_loop(decayed)),
    "compute_gradients, accumulated": (lambda: every_third(Clipping(RATE)), {}, lambda: plain_loop(clipped, every=3)),
    "minimize, accumulated, loss scale": (
        lambda: every_third(Decaying(RATE)),
        DYNAMIC,
        lambda: plain_loop(decayed, every=3),
    ),
    "compute_gradients, loss scale": (lambda: Clipping(RATE), DYNAMIC, lambda: plain_loop(clipped)),
    "collected losses": (lambda: Collecting(RATE), {}, lambda: plain_loop(decayed)),
    "collected losses, accumulated, loss scale": (
        lambda: every_third(Collecting(RATE)),
        DYNAMIC,
        lambda: plain_loop(decayed, every=3),
    ),
    "tensors of model_fn": (lambda: Adding(RATE), {}, lambda: plain_loop(decayed)),
    "tensors of model_fn, accumulated, loss scale": (
        lambda: every_third(Adding(RATE)),
        DYNAMIC,
        lambda: plain_loop(decayed, every=3),
    ),
    "gradients of tensors of model_fn, loss scale": (
        lambda: AddingGradients(RATE),
        DYNAMIC,
        lambda: plain_loop(decayed),
    ),
    "minimize of Keras, accumulated": (
        lambda: every_third(MinimizingOfKeras(RATE)),
        {},
        lambda: plain_loop(decayed, every=3),
    ),
    "LossScaleOptimizer": (loss_scaled, {}, plain_loop),
    "LossScaleOptimizer, accumulated": (
        lambda: every_third(loss_scaled(clipnorm=LIMIT)),
        {},
        lambda: plain_loop(clipped, every=3),
    ),
    "LossScaleOptimizer, flags": (
        loss_scaled,
        {**DYNAMIC, "gradient_clip_type": "norm", "gradient_clip": LIMIT},
        lambda: plain_loop(clipped),
    ),
    "loss_scale_factor": (lambda: keras.optimizers.SGD(RATE, loss_scale_factor=100.0), {}, plain_loop),
    "loss scale of TF1": (of_tf1_scaled, {}, plain_loop),
    "accumulation of Keras": (
        lambda: keras.optimizers.SGD(RATE, gradient_accumulation_steps=3),
        {},
        lambda: plain_loop(every=3),
    ),
}
INSIDE = {
    "TF1": lambda: v1.train.GradientDescentOptimizer(RATE),
    "Keras": lambda: keras.optimizers.SGD(RATE),
    "LossScaleOptimizer": loss_scaled,
    "TF1, by hand": ByHand,
    "Keras, by hand": lambda: OfKeras(RATE),
}


def train(optimizer_fn, folder, *, model_fn=plain_model, steps=STEPS, replicas=1, flags=(), **options):
    before = {name: mox.get_flag(name) for name in dict(flags)}
    try:
        for name, value in dict(flags).items():
            mox.set_flag(name, value)
        arguments = {"input_fn": input_fn, "batch_size": 8 // replicas, "log_dir": folder, **options}
        result = mox.run(
            model_fn=model_fn,
            optimizer_fn=optimizer_fn,
            run_mode=mox.ModeKeys.TRAIN,
            max_number_of_steps=steps,
            **arguments,
        )
    finally:
        for name, value in before.items():
            mox.set_flag(name, value)
    return values_of(result.checkpoint)


def on_two_devices(folder):
    """What differs from the plain loop by more than 1e-6, by the name of the case."""
    found = {
        name: float(np.abs(train(make, folder / name, replicas=2, flags=flags)["w"].ravel() - expected()).max())
        for name, (make, flags, expected) in GRADIENTS.items()
    }
    for name, make in INSIDE.items():
        for model_fn, weights in ((constrained_model, "w"), (constrained_layer, "d/kernel")):
            values = train(
                lambda make=make: every_third(make()), folder / f"{name} {weights}", model_fn=model_fn, replicas=2
            )
            found[f"{name} {weights}"] = float(
                np.abs(values[weights].ravel() - plain_loop(on_weights=shrunk, every=3)).max()
            )
    return {name: difference for name, difference in found.items() if difference > 1e-6}


def refused(make, folder, **options):
    """The words in which a training is refused."""
    try:
        train(make, folder, **options)
    except mox.UsageError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    mox.set_flag("num_gpus", 2)
    mox.set_flag("clone_on_cpu", True)
    words = [
        refused(lambda name=name: Adding(RATE, lambda: [KEPT[name]]), None, replicas=2)
        for name in ("penalty", "of_samples")
    ]
    print(json.dumps({"different": on_two_devices(Path(sys.argv[1])), "refused": words}))
