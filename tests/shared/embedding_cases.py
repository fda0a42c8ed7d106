"""Gradients of an embedding, in which rows occur more than once, clipped: each case with the dense gradient in NumPy.

The tests run them on one device, and a process of two devices on both.
"""

import json
import tempfile

import keras
import numpy as np
import tensorflow as tf

import mox_core as mox

v1 = tf.compat.v1
ROWS = [1, 1, 3, 1, 2, 3]
LIMIT = 1.5
GRADIENT = np.zeros([5, 2])
for row in ROWS:  # that of the mean over the six of 24 * (first of the row) - 12 * (second of the row)
    GRADIENT[row] += (4, -2)


def model_fn(inputs, mode):
    del mode
    table = v1.get_variable("table", [5, 2], initializer=v1.ones_initializer())
    return mox.ModelSpec(loss=tf.reduce_mean(tf.nn.embedding_lookup(table, inputs[0]) @ [[24.0], [-12.0]]))


def by_value(gradient):
    return np.clip(gradient, -LIMIT, LIMIT)


def by_norm(gradient):
    return gradient * LIMIT / np.linalg.norm(gradient)


def then_lars(gradient):
    """The paper's, at weights of 1: their norm is the root of 10."""
    return (gradient + 1e-4) * 0.1 * np.sqrt(10) / (np.linalg.norm(gradient) + 1e-4 * np.sqrt(10))


class ClippingFirst(v1.train.GradientDescentOptimizer):
    def compute_gradients(self, *args, **kwargs):
        pairs = super().compute_gradients(*args, **kwargs)
        return [(tf.clip_by_norm(gradient, LIMIT), variable) for gradient, variable in pairs]


class ClippingLast(v1.train.GradientDescentOptimizer):
    def apply_gradients(self, grads_and_vars, global_step=None, name=None):
        gradients, variables = zip(*grads_and_vars, strict=True)
        clipped, _ = tf.clip_by_global_norm(gradients, LIMIT)
        return super().apply_gradients(zip(clipped, variables, strict=True), global_step, name)


def of_tf1():
    return v1.train.GradientDescentOptimizer(1.0)


def of_keras(**options):
    return keras.optimizers.SGD(1.0, **options)


def accumulated(optimizer):
    return mox.get_optimizer_wrapper_fn("batch_gradients", optimizer, num_batches=2)()


def lars(optimizer):
    return mox.get_optimizer_wrapper_fn("lars", optimizer, ratio=0.1, exclude_patterns=[])()


def _by_flags():
    for name, make in (("TF1", of_tf1), ("Keras", of_keras)):
        for kind, clip in (("value", by_value), ("norm", by_norm)):
            flags = {"gradient_clip_type": kind, "gradient_clip": LIMIT}
            dynamic = {**flags, "loss_scale": "dynamic"}
            yield f"{name}, {kind}", (make, flags, clip)
            yield f"{name}, {kind}, loss scale", (make, dynamic, clip)
            yield f"{name}, {kind}, accumulated", (lambda make=make: accumulated(make()), flags, clip)
            yield (
                f"{name}, {kind}, all at once",
                (lambda make=make: accumulated(lars(make())), dynamic, lambda each, clip=clip: then_lars(clip(each))),
            )


def _by_optimizers():
    for option, clip in (("clipvalue", by_value), ("clipnorm", by_norm), ("global_clipnorm", by_norm)):

        def make(options=(option,)):
            return of_keras(**dict.fromkeys(options, LIMIT))

        yield option, (make, {}, clip)
        yield f"{option}, accumulated, loss scale", (lambda make=make: accumulated(make()), {"loss_scale": 64}, clip)
        yield (
            f"{option}, LossScaleOptimizer",
            (lambda make=make: keras.optimizers.LossScaleOptimizer(make()), {}, clip),
        )
    yield "compute_gradients", (lambda: ClippingFirst(1.0), {}, by_norm)
    yield "apply_gradients", (lambda: ClippingLast(1.0), {"loss_scale": "dynamic"}, by_norm)


CASES = dict((*_by_flags(), *_by_optimizers()))  # name: optimizer_fn, flags, what it makes of the gradient


def difference(case, folder, replicas=1):
    """How far the table is from that of the dense gradient, after one update from 1."""
    make, flags, expected = CASES[case]
    plain = {"gradient_clip_type": "", "gradient_clip": 0.0, "loss_scale": 1}
    before = {name: mox.get_flag(name) for name in plain}
    try:
        for name, value in {**plain, **flags}.items():
            mox.set_flag(name, value)
        result = mox.run(
            input_fn=lambda mode: tf.data.Dataset.from_tensor_slices(ROWS).repeat(),  # noqa: ARG005
            model_fn=model_fn,
            optimizer_fn=make,
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=len(ROWS) // replicas,
            max_number_of_steps=2 if "accumulated" in case or "all at once" in case else 1,
            log_dir=folder,
        )
    finally:
        for name, value in before.items():
            mox.set_flag(name, value)
    table = tf.train.load_checkpoint(result.checkpoint).get_tensor("table")
    return float(np.abs(table - (1 - expected(GRADIENT))).max())


if __name__ == "__main__":
    mox.set_flag("num_gpus", 2)
    mox.set_flag("clone_on_cpu", True)
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps({case: difference(case, f"{temporary}/{case}", replicas=2) for case in CASES}))
