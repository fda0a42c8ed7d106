"""`lars`: against algorithm 1 of its paper (arXiv 1708.03888) in NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import values_of

FEATURES = np.random.default_rng(4).normal(size=(12, 3)).astype(np.float32)
TARGETS = (FEATURES @ [1.0, -2.0, 0.5] + 0.3).astype(np.float32)
WEIGHTS = np.array([[0.5], [1.5], [-1.0]])
STEPS = 12


@pytest.fixture(autouse=True)
def _same_seed():
    tf.random.set_seed(1)
    yield
    tf.compat.v1.random.set_random_seed(None)


def line(inputs, mode):
    """Linear regression: weights of two dimensions, and a bias."""
    del mode
    features, targets = inputs
    weights = tf.compat.v1.get_variable("weights", initializer=tf.constant(WEIGHTS, tf.float32))
    bias = tf.compat.v1.get_variable("bias", initializer=tf.zeros([1]))
    loss = tf.reduce_mean(((features @ weights + bias)[:, 0] - targets) ** 2)
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})


def papers(steps, *, rate, momentum=0.0, ratio=0.001, decay=0.0001, bias_too=False, rate_outside=False):
    """Weights and bias after so many steps of algorithm 1, `rate` being a function of the step.

    `rate_outside` keeps the velocity without the rate, as TensorFlow's momentum does; the paper has it inside.
    """
    values = [WEIGHTS[:, 0].copy(), np.zeros(1)]
    velocities = [np.zeros(3), np.zeros(1)]
    for step in range(steps):
        errors = FEATURES @ values[0] + values[1] - TARGETS
        gradients = [2 * FEATURES.T @ errors / 12, np.array([2 * errors.mean()])]
        for number, gradient in enumerate(gradients):
            local, decayed = 1.0, gradient
            if number == 0 or bias_too:
                decayed = gradient + decay * values[number]
                norm = np.sqrt(np.sum(values[number] ** 2))
                if norm > 0:
                    local = ratio * norm / (np.sqrt(np.sum(gradient**2)) + decay * norm)
            kept, now = (1.0, rate(step)) if rate_outside else (rate(step), 1.0)
            velocities[number] = momentum * velocities[number] + kept * local * decayed
            values[number] = values[number] - now * velocities[number]
    return values


def train(log_dir, optimizer_fn, model_fn=line, steps=STEPS, arrays=(FEATURES, TARGETS), batch_size=12):
    result = mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensor_slices(arrays).repeat(),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=batch_size,
        log_dir=log_dir,
        max_number_of_steps=steps,
        log_every_n_steps=100,
    )
    return values_of(result.checkpoint)


def lars(make, **options):
    def optimizer_fn():
        return mox.get_optimizer_wrapper_fn("lars", make(), **options)()

    return optimizer_fn


def assert_same(found, expected, **tolerance):
    tolerance = tolerance or {"rtol": 2e-5, "atol": 1e-6}
    np.testing.assert_allclose(found["weights"][:, 0], expected[0], **tolerance)
    np.testing.assert_allclose(found["bias"], expected[1], **tolerance)


def falling(step):
    """The paper's polynomial policy."""
    return 0.5 * (1 - step / 20) ** 2


def rate_of_step():
    return falling(tf.cast(tf.compat.v1.train.get_global_step(), tf.float32))


def constant(step):
    del step
    return 0.1


@pytest.mark.parametrize(
    "make",
    [mox.get_optimizer_fn("momentum", 0.1, momentum=0.9), lambda: keras.optimizers.SGD(0.1, momentum=0.9)],
    ids=["TF1", "Keras 3"],
)
def test_with_a_constant_rate_it_is_the_papers_algorithm(make, tmp_path):
    found = train(tmp_path, lars(make))
    assert_same(found, papers(STEPS, rate=constant, momentum=0.9))
    assert np.abs(found["weights"] - WEIGHTS).max() > 1e-3, "it has moved"


def test_with_a_falling_rate_keras_is_the_papers_algorithm_and_tf1_keeps_the_rate_out_of_its_velocity(tmp_path):
    options = {"ratio": 0.05, "weight_decay": 0.01}
    own = {"rate": falling, "momentum": 0.8, "ratio": 0.05, "decay": 0.01}
    found = train(tmp_path / "keras", lars(lambda: keras.optimizers.SGD(rate_of_step, momentum=0.8), **options))
    assert_same(found, papers(STEPS, **own))
    found = train(tmp_path / "tf1", lars(mox.get_optimizer_fn("momentum", rate_of_step, momentum=0.8), **options))
    assert_same(found, papers(STEPS, **own, rate_outside=True))


def test_a_run_that_is_resumed_goes_on_as_if_it_had_not_stopped(tmp_path):
    make = lars(mox.get_optimizer_fn("momentum", 0.1, momentum=0.9))
    for steps in (5, STEPS):
        found = train(tmp_path, make, steps=steps)
    assert_same(found, papers(STEPS, rate=constant, momentum=0.9))


def test_what_is_excluded_can_be_chosen(tmp_path):
    sgd, options = mox.get_optimizer_fn("sgd", 0.1), {"ratio": 0.05, "weight_decay": 0.01}
    found = train(tmp_path / "nothing", lars(sgd, exclude_patterns=[], **options))
    # The bias begins at zero: its factor is 1 in the first step.
    assert_same(found, papers(STEPS, rate=constant, ratio=0.05, decay=0.01, bias_too=True))
    excluded = train(tmp_path / "all", lars(sgd, exclude_patterns=["^weights$", "bia"], **options))
    plain = train(tmp_path / "plain", sgd)
    for name in ("weights", "bias"):
        np.testing.assert_array_equal(excluded[name], plain[name])


def test_biases_and_normalization_layers_are_left_out(tmp_path):
    def model_fn(inputs, mode):
        """Every variable has the gradient 1 everywhere."""
        del inputs, mode
        ones = tf.compat.v1.ones_initializer()
        names = {
            "conv/kernel": [2, 2],
            "conv/bias": [2],
            "scale": [],
            "batch_normalization_3/gamma": [1, 2],
            "resnet/BatchNorm/beta": [1, 2],
            "layer_norm/gamma": [1, 2],
            "LayerNorm/gamma": [1, 2],
            "GroupNorm/gamma": [1, 2],
            "rms_normalization/scale": [1, 2],
            "normal/kernel": [2, 2],
        }
        made = [tf.compat.v1.get_variable(name, shape, initializer=ones) for name, shape in names.items()]
        return mox.ModelSpec(loss=tf.add_n([tf.reduce_sum(each) for each in made]))

    found = train(tmp_path, lars(mox.get_optimizer_fn("sgd", 0.25), ratio=0.5, weight_decay=1.0), model_fn, steps=1)
    # |w| = |g|: the factor is 0.5 / 2, on the gradient 1 + 1.
    moved = {name for name in found if found[name].dtype == np.float32 and np.all(found[name] == 1 - 0.25 * 0.5)}
    plain = {name for name in found if found[name].dtype == np.float32 and np.all(found[name] == 1 - 0.25)}
    assert moved == {"conv/kernel", "normal/kernel"}
    assert len(plain) == 8


def test_a_weight_or_gradient_of_nothing_has_the_factor_one(tmp_path):
    def model_fn(inputs, mode):
        del inputs, mode
        zeros = tf.compat.v1.get_variable("zeros", initializer=tf.zeros([2, 2]))
        still = tf.compat.v1.get_variable("still", initializer=tf.ones([2, 2]))
        return mox.ModelSpec(loss=tf.reduce_sum(zeros) + tf.reduce_sum(still * 0.0))

    found = train(tmp_path, lars(mox.get_optimizer_fn("sgd", 0.25), weight_decay=0.5), model_fn, steps=1)
    assert found["zeros"].tolist() == [[-0.25] * 2] * 2
    assert found["still"].tolist() == [[1 - 0.25 * 0.5] * 2] * 2


def test_norms_of_half_precision_are_taken_in_full(tmp_path):
    def model_fn(inputs, mode):
        del inputs, mode
        weights = tf.compat.v1.get_variable("w", initializer=tf.fill([100, 100], tf.constant(2.0, tf.float16)))
        return mox.ModelSpec(loss=tf.reduce_sum(tf.cast(weights, tf.float32)) * 8)

    # Sums of squares of 40,000 and 640,000; float16 ends at 65,504. The factor is 200 / 800.
    make = lars(mox.get_optimizer_fn("sgd", 0.5), ratio=1.0, weight_decay=0.0)
    found = train(tmp_path, make, model_fn, steps=1)
    assert (found["w"] == 2 - 0.5 * 0.25 * 8).all()


def test_rows_that_were_not_looked_up_decay_too(tmp_path):
    table = np.array([[3.0, 0.0], [0.0, 4.0], [0.0, 0.0]])

    def model_fn(inputs, mode):
        del mode
        words = tf.compat.v1.get_variable("words", initializer=tf.constant(table, tf.float32))
        return mox.ModelSpec(loss=tf.reduce_sum(tf.gather(words, inputs[0])))

    make = lars(mox.get_optimizer_fn("sgd", 1.0), ratio=0.1, weight_decay=0.2)
    found = train(tmp_path, make, model_fn, 1, np.array([1, 1]), batch_size=2)
    gradient = np.array([[0, 0], [2, 2], [0, 0]])
    factor = 0.1 * 5 / (np.sqrt(8) + 0.2 * 5)
    np.testing.assert_allclose(found["words"], table - factor * (gradient + 0.2 * table), rtol=1e-6)


@pytest.mark.parametrize(
    "make_inner",
    [
        mox.get_optimizer_fn("momentum", 0.1, momentum=0.9),
        lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    ],
    ids=["TF1", "Keras 3"],
)
def test_the_three_layers_of_the_manual_train_as_two_on_a_large_batch(make_inner, tmp_path):
    two = lars(make_inner, ratio=0.05)

    def three():
        return mox.get_optimizer_wrapper_fn("batch_gradients", two(), num_batches=4, sync_on_apply=True)()

    found = train(tmp_path, three, steps=4 * STEPS, batch_size=3)
    assert_same(found, papers(STEPS, rate=constant, momentum=0.9, ratio=0.05))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratio": 0}, "lars: ratio is 0; it must be a number, above 0."),
        ({"ratio": float("nan")}, "lars: ratio is nan; it must be a number, above 0."),
        ({"weight_decay": -0.1}, "lars: weight_decay is -0.1; it must be a number, 0 or more."),
        ({"weight_decay": True}, "lars: weight_decay is True; it must be a number, 0 or more."),
        (
            {"exclude_patterns": "bias"},
            "lars: exclude_patterns is 'bias'; it must be a list of regular expressions.",
        ),
        (
            {"exclude_patterns": ["bias", "*"]},
            "lars: exclude_patterns holds '*', which is no regular expression: nothing to repeat at position 0.",
        ),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(options, words):
    with pytest.raises(mox.UsageError) as refusal:
        lars(mox.get_optimizer_fn("sgd", 0.1), **options)()
    assert str(refusal.value) == words
