"""What the drill trains, and how it looks at what is left."""

import json
import os
import sys

import keras
import numpy as np
import tensorflow as tf
from attrs import define, field

import mox_core as mox
from mox_core.sdk import SampleSource

STEPS = 24


def input_fn(mode):
    """Fifty images, some of which are bad, in an order of their own, at random cropped and flipped."""

    def fetch(index):
        good = tf.debugging.assert_none_equal(index % 8, tf.constant(3, tf.int64))
        with tf.control_dependencies([good]):
            image = tf.random.stateless_uniform([6, 6, 1], tf.stack([index, 1]))
        return {"image": image, "label": index % 3}

    training = mode == mox.ModeKeys.TRAIN
    source = SampleSource(
        num_samples=50, fetch=fetch, describe=str, shuffle=training, num_epochs=None if training else 1
    )
    sample = source.read()
    return tf.image.random_flip_left_right(tf.image.random_crop(sample["image"], [5, 5, 1])), sample["label"]


def model_fn_in(log_dir, *, validates):
    """Returns a model_fn with all that is random or kept from step to step, which marks where it is being validated."""

    def validating(loss):
        (log_dir / "validating").touch()
        return loss

    def model_fn(inputs, mode):
        images, labels = inputs
        training = mode == mox.ModeKeys.TRAIN
        count = tf.compat.v1.get_variable("count", [], tf.int64, tf.compat.v1.zeros_initializer(), trainable=False)
        large = tf.compat.v1.get_variable("large", [36, 40_000])  # so that a save takes its time
        x = keras.layers.Conv2D(4, 3, activation="relu")(images)
        x = keras.layers.BatchNormalization()(x, training=training)
        x = keras.layers.Dropout(0.2)(tf.reshape(x, [-1, 36]), training=training)
        logits = keras.layers.Dense(3)(tf.nn.relu(x @ large)[:, :9])
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        tf.summary.scalar("in_the_model", loss)
        if training:
            count.assign_add(1)
        if mode == mox.ModeKeys.EVAL:
            loss = tf.ensure_shape(tf.py_function(validating, [loss], tf.float32), [])
        hooks = []
        if validates:
            hooks = [
                mox.LogEvaluationMetricHook(
                    monitor_info={"loss": loss},
                    batch_size=4,
                    samples_in_train=32,
                    samples_in_eval=24,
                    evaluate_every_n_epochs=1.0,
                )
            ]
        return mox.ModelSpec(
            loss=loss,
            log_info={"loss": loss},
            hooks=hooks,
            export_spec=mox.ExportSpec({"images": images}, {"logits": logits}),
        )

    return model_fn


def train(log_dir, steps=STEPS, *, validates=True, exports=True):
    tf.random.set_seed(8)
    mox.set_flag("max_to_keep", 2)
    mox.set_flag("session_timeout", 20)  # for which the others of a job wait for one that was killed while it began
    mox.run(
        input_fn=input_fn,
        model_fn=model_fn_in(log_dir, validates=validates),
        optimizer_fn=lambda: tf.compat.v1.train.MomentumOptimizer(0.1, 0.9),
        run_mode=mox.ModeKeys.TRAIN,
        inter_mode=mox.ModeKeys.EVAL if validates else None,
        batch_size=4,
        log_dir=log_dir,
        max_number_of_steps=steps,
        save_model_steps=1,
        save_summary_steps=3,
        export_model=mox.ExportKeys.TF_SERVING if exports else None,
    )


def values_of(prefix):
    found = tf.train.load_checkpoint(str(prefix))
    return {name: found.get_tensor(name) for name in found.get_variable_to_shape_map()}


def differing(one, other):
    return sorted(name for name in one.keys() | other.keys() if not np.array_equal(one.get(name), other.get(name)))


def newest(log_dir):
    """Returns the step of the newest checkpoint, -1 where there is none."""
    return max((int(path.stem.partition("-")[2]) for path in log_dir.glob("model.ckpt-*.index")), default=-1)


def loads(export):
    try:
        tf.saved_model.load(str(export))
    except (OSError, ValueError, tf.errors.OpError):
        return False
    return True


def apart(function, *arguments):
    """Calls a function in a process of its own, so that this one can still be forked; returns what JSON can hold."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            answer = json.dumps(function(*arguments)).encode()
            os.write(writing, answer)
            code = 0
        except BaseException:  # noqa: BLE001 (the process ends here)
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return json.loads(answer)


@define
class Report:
    """What a part of the drill has done, and what was lost in it."""

    name: str
    done: int = 0
    where: dict = field(factory=dict)
    lost: list = field(factory=list)
    seconds: float = 0.0

    def line(self):
        where = ", ".join(f"{place} {count}" for place, count in self.where.items())
        return f"{self.name:<20} {self.done:>6}  {len(self.lost):>4}  {self.seconds:>7.0f} s  {where}"
