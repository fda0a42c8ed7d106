"""A run that is stopped and goes on ends with the very weights of one that was never stopped."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.sdk import SampleSource, input_from_the_start

SIZE = 23  # with batches of 4, no epoch ends where a batch does
IMAGES = np.random.default_rng(3).random((SIZE, 7, 7, 1), np.float32)
LABELS = np.arange(SIZE) % 3


def _augmented(image):
    image = tf.image.random_flip_left_right(image)
    image = tf.image.random_brightness(image, 0.3)
    return tf.image.random_crop(image, [5, 5, 1])


def _source_input_fn(bad):
    def fetch(index):
        good = tf.debugging.assert_equal(tf.reduce_any(index == tf.constant(bad, tf.int64)), tf.constant(value=False))
        with tf.control_dependencies([good]):
            return {"image": tf.gather(IMAGES, index), "label": tf.gather(LABELS, index)}

    source = SampleSource(num_samples=SIZE, fetch=fetch, describe=str, shuffle=True)

    def input_fn(mode):  # noqa: ARG001
        features = source.read()
        return _augmented(features["image"]), features["label"]

    return input_fn


def _dataset_input_fn(mode):  # noqa: ARG001
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).shuffle(SIZE)
    return dataset.map(lambda image, label: (_augmented(image), label), num_parallel_calls=8).repeat()


def _plain_input_fn(mode):  # noqa: ARG001
    return tf.random.normal([5, 5, 1]), tf.random.uniform([], 0, 3, tf.int64)


INPUTS = {
    "samples by index": _source_input_fn(()),
    "samples by index, some of them bad": _source_input_fn((3, 10, 22)),
    "a tf.data.Dataset": _dataset_input_fn,
    "tensors without a source": _plain_input_fn,
}
OPTIMIZERS = {
    "keras Adam": lambda: keras.optimizers.Adam(0.01),
    "keras SGD": lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 5, 0.5), momentum=0.9),
    "v1 Momentum": lambda: tf.compat.v1.train.MomentumOptimizer(0.05, 0.9),
    "v1 Adam": lambda: tf.compat.v1.train.AdamOptimizer(0.01),
}


def _model_fn(inputs, mode):
    """Everything that draws random numbers or keeps something from step to step, in one network."""
    images, labels = inputs
    training = mode == mox.ModeKeys.TRAIN
    x = keras.layers.Conv2D(4, 3, activation="relu")(images)
    x = keras.layers.BatchNormalization()(x, training=training)
    x = keras.layers.Dropout(0.3)(tf.reshape(x, [-1, 36]), training=training)
    x = tf.nn.relu(x @ tf.compat.v1.get_variable("w", [36, 8]))
    x = tf.nn.dropout(x, 0.2) if training else x
    logits = keras.layers.Dense(3)(x)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    tf.summary.scalar("in_the_model", loss)
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})


def _train(log_dir, steps, input_fn, optimizer_fn, **options):
    return mox.run(
        input_fn=input_fn,
        model_fn=_model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=4,
        log_dir=log_dir,
        max_number_of_steps=steps,
        save_summary_steps=5,
        **options,
    ).checkpoint


def _differing(one, other):
    assert one.keys() == other.keys()
    return [name for name in one if not np.array_equal(one[name], other[name])]


CASES = [
    ("samples by index", "keras Adam"),
    ("samples by index", "v1 Adam"),
    ("samples by index, some of them bad", "v1 Momentum"),
    ("a tf.data.Dataset", "keras SGD"),
    ("tensors without a source", "v1 Momentum"),
]


@pytest.mark.parametrize(("kind", "optimizer"), CASES, ids=[" with ".join(case) for case in CASES])
def test_a_run_in_three_parts_has_the_weights_of_one_in_one_part(kind, optimizer, variables, tmp_path):
    tf.random.set_seed(11)
    input_fn, optimizer_fn = INPUTS[kind], OPTIMIZERS[optimizer]
    whole = variables(_train(tmp_path / "whole", 17, input_fn, optimizer_fn, log_every_n_steps=100))
    assert {"w", "conv2d/kernel", "batch_normalization/moving_mean", "dense/bias"} <= whole.keys()
    assert "seed_generator/seed_generator_state" in whole, "what the dropout of Keras draws from"
    # Stopped after 4 and 8 steps: in the middle of the first epoch and of the second.
    for step in (4, 8, 17):
        in_parts = variables(_train(tmp_path / "parts", step, input_fn, optimizer_fn, log_every_n_steps=3))
    assert in_parts["global_step"] == 17
    assert _differing(whole, in_parts) == []


def test_a_run_goes_on_with_the_seed_of_its_beginning(variables, tmp_path):
    """Also where nobody has set one, or one that differs."""
    input_fn, optimizer_fn = INPUTS["a tf.data.Dataset"], OPTIMIZERS["keras SGD"]
    keras.utils.set_random_seed(5)
    whole = variables(_train(tmp_path / "whole", 9, input_fn, optimizer_fn))
    _train(tmp_path / "parts", 4, input_fn, optimizer_fn)
    tf.random.set_seed(6)
    in_parts = variables(_train(tmp_path / "parts", 9, input_fn, optimizer_fn))
    assert whole["mox/seed"] == in_parts["mox/seed"] == 5
    assert _differing(whole, in_parts) == []

    other = variables(_train(tmp_path / "other", 9, input_fn, optimizer_fn))
    assert "dense/kernel" in _differing(whole, other), "another seed gives other weights"


def test_a_run_that_goes_on_with_its_input_from_the_start_keeps_what_it_has_learnt_and_draws_anew(tmp_path):
    def input_fn(mode):  # noqa: ARG001
        return tf.data.Dataset.range(SIZE).shuffle(SIZE).map(lambda number: (number, tf.random.uniform([])))

    def model_fn(inputs, mode):  # noqa: ARG001
        weight = tf.compat.v1.get_variable("weight", initializer=0.0)
        loss = weight * tf.reduce_mean(tf.cast(inputs[0], tf.float32))
        return mox.ModelSpec(loss=loss, output_info={"number": inputs[0], "drawn": inputs[1]})

    def train():
        return mox.run(
            input_fn=input_fn,
            model_fn=model_fn,
            optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(1.0),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=SIZE,
            log_dir=tmp_path,
            output_fn=seen.extend,
            output_every_n_steps=1,
        )

    seen = []
    train()
    with input_from_the_start():
        assert train().global_step == 2
        assert train().global_step == 3
    numbers, drawn = ([step[name] for step in seen] for name in ("number", "drawn"))
    assert [sorted(each.tolist()) for each in numbers] == [list(range(SIZE))] * 3
    assert len({tuple(each.tolist()) for each in numbers}) == len({tuple(each.tolist()) for each in drawn}) == 3
    weights = tf.train.load_checkpoint(str(tmp_path))
    assert weights.get_tensor("weight") == -3 * 11  # the mean of 0 ... 22
    assert train().steps == 0, "a run that resumes as ever is at the end of its input"


def test_the_input_of_a_run_goes_on_behind_its_last_batch(tmp_path):
    """Five epochs of 23 samples, in three runs: every epoch holds each sample once, and each run goes on in it."""
    source = SampleSource(num_samples=SIZE, fetch=lambda i: {"index": i}, describe=str, shuffle=True, num_epochs=4)
    seen = []

    def input_fn(mode):  # noqa: ARG001
        return source.read()["index"]

    def model_fn(inputs, mode):  # noqa: ARG001
        weight = tf.compat.v1.get_variable("weight", [])
        loss = weight * tf.reduce_mean(tf.cast(inputs[0], tf.float32))
        return mox.ModelSpec(loss=loss, output_info={"indices": inputs[0]})

    def train(steps):
        return mox.run(
            input_fn=input_fn,
            model_fn=model_fn,
            optimizer_fn=OPTIMIZERS["v1 Momentum"],
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=2,
            log_dir=tmp_path,
            max_number_of_steps=steps,
            output_fn=lambda outputs: seen.extend(each["indices"] for each in outputs),
            output_every_n_steps=3,
        )

    assert [train(steps).steps for steps in (5, 20, 0)] == [5, 15, 26]
    epochs = np.reshape(np.concatenate(seen), [4, SIZE])
    assert (np.sort(epochs, axis=1) == np.arange(SIZE)).all()

    again = train(0)
    assert (again.steps, again.stopped_by, again.global_step) == (0, "end of input", 46)


def test_the_same_run_twice_gives_the_same_bits():
    """Large enough for the kernels of the CPU to share their work among threads, which sum in an order of their own."""

    def input_fn(mode):  # noqa: ARG001
        return tf.random.normal([24, 24, 8]), tf.random.uniform([], 0, 10, tf.int64)

    def model_fn(inputs, mode):  # noqa: ARG001
        x = keras.layers.Conv2D(32, 3, padding="same")(inputs[0])
        x = keras.layers.BatchNormalization()(x, training=True)
        x = keras.layers.DepthwiseConv2D(3, padding="same")(tf.nn.relu(x))
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
        x = x + keras.layers.Embedding(10, 32)(inputs[1])[:, tf.newaxis, tf.newaxis]  # its gradient is a scatter
        logits = keras.layers.Dense(10)(keras.layers.Flatten()(x))
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(inputs[1], logits))
        return mox.ModelSpec(loss=loss, log_info={"loss": loss})

    def loss():
        tf.random.set_seed(2)
        return mox.run(
            input_fn=input_fn,
            model_fn=model_fn,
            optimizer_fn=OPTIMIZERS["keras Adam"],
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=32,
            max_number_of_steps=8,
        ).metrics["loss"]

    assert loss() == loss()
