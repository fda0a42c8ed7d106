"""Random numbers: a function of the seed and the place, with the distributions that were asked for."""

import random
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox


def _run(input_fn, model_fn=None, *, steps, batch_size=1, hooks=(), **options):
    """The outputs of each step."""
    got = []

    def plain_model_fn(inputs, mode):
        del mode
        loss = tf.compat.v1.get_variable("w", initializer=0.0) * 0.0
        return mox.ModelSpec(loss=loss, output_info={"x": inputs[0]}, hooks=list(hooks))

    mox.run(
        input_fn=input_fn,
        model_fn=model_fn or plain_model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.MomentumOptimizer(0.1, 0.9),
        output_fn=got.extend,
        output_every_n_steps=1,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=batch_size,
        max_number_of_steps=steps,
        **options,
    )
    return [step["x"] for step in got]


def _of_samples(draw, *, steps, batch_size=1, seed=1):
    tf.random.set_seed(seed)
    return np.concatenate(_run(lambda mode: draw(), steps=steps, batch_size=batch_size))  # noqa: ARG005


def _of_steps(draw, *, steps, seed=1, hooks=()):
    def model_fn(inputs, mode):
        del inputs, mode
        loss = tf.compat.v1.get_variable("w", initializer=0.0) * 0.0
        return mox.ModelSpec(loss=loss, output_info={"x": draw()}, hooks=list(hooks))

    tf.random.set_seed(seed)
    return np.stack(_run(lambda mode: tf.constant(0.0), model_fn, steps=steps))  # noqa: ARG005


def _weights_after(seed, log_dir):
    """Everything random at once: order of samples, augmentation, initial values, dropout, noise."""

    def input_fn(mode):
        del mode
        image = tf.reshape(tf.range(12.0), [3, 4, 1]) + tf.random.normal([])
        return tf.image.random_flip_left_right(tf.image.random_crop(image, [2, 2, 1]))

    def model_fn(inputs, mode):
        flat = keras.layers.Dropout(0.5)(keras.layers.Flatten()(inputs[0]), training=mode == mox.ModeKeys.TRAIN)
        hidden = tf.nn.dropout(keras.layers.Dense(3, activation="tanh")(flat), 0.3)
        weights = tf.compat.v1.get_variable("weights", [3, 1])
        loss = tf.reduce_mean((hidden @ weights + tf.random.normal([]) - 1) ** 2)
        return mox.ModelSpec(loss=loss, output_info={"x": loss})

    if seed is not None:
        tf.random.set_seed(seed)
    else:
        tf.compat.v1.random.set_random_seed(None)
    _run(input_fn, model_fn, steps=12, batch_size=4, log_dir=log_dir)
    reader = tf.train.load_checkpoint(str(log_dir))
    return {name: reader.get_tensor(name) for name in ("weights", "dense/kernel", "weights/Momentum")}


def test_the_same_seed_gives_the_same_run_to_the_bit(tmp_path):
    first, second = _weights_after(7, tmp_path / "a"), _weights_after(7, tmp_path / "b")
    for name, value in first.items():
        assert value.tobytes() == second[name].tobytes(), name


def test_another_seed_gives_another_run(tmp_path):
    first, second = _weights_after(7, tmp_path / "a"), _weights_after(8, tmp_path / "b")
    assert all(not np.array_equal(value, second[name]) for name, value in first.items())


def test_without_a_seed_every_run_is_another(tmp_path):
    first, second = _weights_after(None, tmp_path / "a"), _weights_after(None, tmp_path / "b")
    assert all(not np.array_equal(value, second[name]) for name, value in first.items())


def test_the_seed_of_keras_counts_too():
    def draw():
        keras.utils.set_random_seed(11)
        return np.concatenate(_run(lambda mode: tf.random.normal([3]), steps=2))  # noqa: ARG005

    np.testing.assert_array_equal(draw(), draw())


# Mean and standard deviation of what is drawn.
DISTRIBUTIONS = {
    "uniform": (lambda: tf.random.uniform([500], 2.0, 4.0), 3.0, 2 / 12**0.5),
    "uniform of whole numbers": (lambda: tf.random.uniform([500], 0, 10, tf.int32), 4.5, (99 / 12) ** 0.5),
    "normal": (lambda: tf.random.normal([500], 1.0, 2.0), 1.0, 2.0),
    "half precision": (lambda: tf.random.normal([500], dtype=tf.float16), 0.0, 1.0),
    # The standard normal cut at two has the variance 1 - 4 * density(2) / (2 * cdf(2) - 1).
    "truncated normal": (lambda: tf.random.truncated_normal([500]), 0.0, 0.8796),
    "categorical": (lambda: tf.random.categorical(tf.math.log([[0.25, 0.75]]), 500)[0], 0.75, 0.1875**0.5),
    "gamma": (lambda: tf.random.gamma([500], 2.0, 4.0), 0.5, 2**0.5 / 4),
    "poisson": (lambda: tf.random.poisson([500], 3.0), 3.0, 3**0.5),
    "shuffle": (lambda: tf.random.shuffle(tf.range(500))[:100], 249.5, 144.3),
    "TF1": (lambda: tf.compat.v1.random_uniform([500], -1.0, 1.0), 0.0, 1 / 3**0.5),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_are_those_that_were_asked_for(name):
    draw, mean, deviation = DISTRIBUTIONS[name]
    numbers = _of_samples(draw, steps=20).astype(np.float64)
    count = numbers.size
    assert abs(numbers.mean() - mean) < 5 * deviation / count**0.5
    assert abs(numbers.std() / deviation - 1) < 0.1
    assert len({row.tobytes() for row in numbers}) == 20, "each sample draws anew"
    np.testing.assert_array_equal(numbers, _of_samples(draw, steps=20))


def test_what_a_sample_draws_depends_on_its_place_alone():
    def draw():
        return tf.stack([tf.random.uniform([]), tf.random.uniform([]), tf.random.normal([])])

    by_one, by_five = _of_samples(draw, steps=10), _of_samples(draw, steps=2, batch_size=5)
    np.testing.assert_array_equal(by_one, by_five)
    assert len(set(by_one[:, :2].ravel().tolist())) == 20, "two ops of one sample draw for themselves"


def test_what_a_step_draws_depends_on_its_number_alone(every_step):
    def draw():
        return tf.stack([tf.random.uniform([]), tf.random.uniform([])])

    in_chunks, single = _of_steps(draw, steps=30), _of_steps(draw, steps=30, hooks=[every_step()])
    np.testing.assert_array_equal(in_chunks, single)
    assert len(set(in_chunks.ravel().tolist())) == 60


@pytest.mark.parametrize(
    "dropout",
    [lambda x: tf.nn.dropout(x, 0.25), lambda x: keras.layers.Dropout(0.25)(x, training=True)],
    ids=["TensorFlow", "Keras 3"],
)
def test_dropout_drops_its_share_anew_in_each_step(dropout):
    outputs = _of_steps(lambda: dropout(tf.ones([2000])), steps=10)
    kept = outputs > 0
    np.testing.assert_allclose(outputs[kept], 1 / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 5 * (0.1875 / outputs.size) ** 0.5
    assert len({step.tobytes() for step in kept}) == 10


def test_images_are_augmented_anew_for_each_sample_and_alike_in_each_run():
    image = np.arange(6 * 6 * 3, dtype=np.float32).reshape(6, 6, 3) / 108

    def draw():
        cropped = tf.image.random_crop(image, [4, 4, 3])
        flipped = tf.image.random_flip_up_down(tf.image.random_flip_left_right(cropped))
        return tf.image.random_contrast(tf.image.random_brightness(flipped, 0.2), 0.5, 1.5)

    images = _of_samples(draw, steps=20)
    assert len({one.tobytes() for one in images}) == 20
    np.testing.assert_array_equal(images, _of_samples(draw, steps=4, batch_size=5))


def test_flips_happen_half_of_the_time_and_crops_everywhere():
    def draw():
        flipped = tf.image.random_flip_left_right(tf.reshape(tf.range(2), [1, 2, 1]))
        cropped = tf.image.random_crop(tf.reshape(tf.range(4), [4, 1, 1]), [2, 1, 1])
        return tf.stack([flipped[0, 0, 0], cropped[0, 0, 0]])

    flips, crops = _of_samples(draw, steps=40, batch_size=10).T
    assert abs(flips.mean() - 0.5) < 5 * 0.5 / 400**0.5
    assert [abs((crops == place).mean() - 1 / 3) < 0.12 for place in range(3)] == [True] * 3


def test_a_distorted_bounding_box_is_drawn_anew_for_each_sample():
    def draw():
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            [100, 100, 3],
            tf.zeros([1, 0, 4]),
            min_object_covered=0.1,
            area_range=[0.2, 0.6],
            use_image_if_no_bounding_boxes=True,
        )
        return tf.concat([begin, size], 0)

    boxes = _of_samples(draw, steps=20)
    areas = boxes[:, 3] * boxes[:, 4] / 100**2
    assert len({box.tobytes() for box in boxes}) > 15
    assert areas.min() > 0.18
    assert areas.max() < 0.62
    np.testing.assert_array_equal(boxes, _of_samples(draw, steps=20))


def test_random_numbers_in_a_branch_are_drawn_in_it():
    def draw():
        return tf.cond(tf.random.uniform([]) < 2, lambda: tf.random.normal([3]), lambda: tf.zeros([3]))

    numbers = _of_steps(draw, steps=5)
    assert len(set(numbers.ravel().tolist())) == 15
    np.testing.assert_array_equal(numbers, _of_steps(draw, steps=5))


def test_random_numbers_in_a_loop_differ_in_its_rounds():
    numbers = _of_steps(lambda: tf.map_fn(lambda _: tf.random.uniform([]), tf.zeros([50])), steps=2)
    assert len(set(numbers.ravel().tolist())) == 100


def _in_function_and_loops():
    zeros = tf.zeros([3])
    total = tf.function(lambda: tf.random.normal([3]))()
    total += tf.while_loop(lambda n, _: n < 3, lambda n, x: (n + 1, x + tf.random.normal([3])), [0, zeros])[1]
    total += tf.map_fn(lambda x: x + tf.random.uniform([]), zeros)
    return total + tf.scan(lambda x, _: tf.nn.dropout(x + 1.0, 0.5), zeros, initializer=tf.zeros([]))


def _candidates():
    return tf.nn.sampled_softmax_loss(
        tf.ones([9, 3]), tf.zeros([9]), tf.ones([3, 1], tf.int64), tf.random.normal([3, 3]), 2, 9
    )


def _raw():
    return tf.raw_ops.RandomStandardNormal(shape=[3], dtype=tf.float32)


def _seeded():
    """All that a resumed run draws again, the way out of a loop too."""
    zeros = tf.zeros([3])
    _raw()  # nobody uses it
    total = tf.cond(tf.random.normal([]) > 0, lambda: tf.random.normal([3]), lambda: zeros)
    total += tf.vectorized_map(lambda x: x + tf.random.normal([]), zeros)
    total += keras.layers.LSTM(3, dropout=0.5, recurrent_dropout=0.5)(tf.ones([1, 4, 2]), training=True)[0]
    seed = tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32)
    rounds = tf.range(3)
    return total + tf.map_fn(
        lambda n: tf.random.stateless_normal([], tf.random.fold_in(seed, n)), rounds, fn_output_signature=tf.float32
    )


UNSEEDED = {
    "in a tf.function or a loop": (_in_function_and_loops, 4),
    "candidate classes": (_candidates, 1),
    "by an operation that mox does not seed": (_raw, 1),
}


@pytest.mark.parametrize("where", UNSEEDED)
def test_random_numbers_that_a_resumed_run_does_not_find_again_are_named_with_their_lines(where, caplog):
    draw, places = UNSEEDED[where]
    _of_steps(draw, steps=1)
    (warning,) = [each.getMessage() for each in caplog.records if "draws others there" in each.getMessage()]
    assert where in warning
    first = draw.__code__.co_firstlineno
    named = [int(line) for line in re.findall(r"test_randomness\.py:(\d+)", warning)]
    assert len(named) == places
    assert all(first < line < first + 6 for line in named)


def test_random_numbers_that_a_resumed_run_finds_again_make_no_warning(tmp_path, caplog):
    def outputs(log_dir, *ends):
        def model_fn(inputs, mode):
            del inputs, mode
            loss = tf.compat.v1.get_variable("w", initializer=0.0) * 0.0
            return mox.ModelSpec(loss=loss, output_info={"x": _seeded()})

        tf.random.set_seed(5)
        runs = [_run(lambda mode: tf.constant(0.0), model_fn, steps=end, log_dir=log_dir) for end in ends]  # noqa: ARG005
        return np.concatenate(runs)

    whole = outputs(tmp_path / "whole", 4)
    np.testing.assert_array_equal(outputs(tmp_path / "parts", 2, 4), whole)
    assert len(set(whole.ravel().tolist())) == 12
    assert "draws" not in caplog.text


def test_the_shuffling_of_a_returned_dataset_goes_by_the_seed():
    def order(seed):
        tf.random.set_seed(seed)
        return np.concatenate(_run(lambda mode: tf.data.Dataset.range(30).shuffle(30), steps=30)).tolist()  # noqa: ARG005

    assert order(3) == order(3)
    assert order(3) != order(4)
    assert sorted(order(3)) == list(range(30))


def test_a_run_leaves_the_random_state_of_python_alone():
    before = random.getstate()
    _of_steps(lambda: keras.layers.Dropout(0.5)(tf.ones([2]), training=True), steps=1)
    assert random.getstate() == before


def test_random_ops_are_as_ever_outside_of_a_run():
    def draw():
        tf.random.set_seed(9)
        return tf.random.normal([4]).numpy()

    before = draw()
    _of_steps(lambda: tf.random.normal([2]), steps=1)
    np.testing.assert_array_equal(draw(), before)
