"""Ten steps of every optimizer, against its update rule written out in NumPy from the paper or TensorFlow's text."""

import inspect

import numpy as np
import pytest
import tensorflow as tf

from mox_core.errors import UsageError
from mox_optimizers import optimizers

START = np.array([[1.5, -0.7], [0.3, 2.0]])
MATRIX = np.array([[2.0, 0.5], [0.5, 1.0]])
STEPS = 10


def gradient(weights):
    """Of sum(w * (MATRIX @ w)) / 2 + sum(w): it changes with the weights, in sign too."""
    return MATRIX @ weights + 1.0


def trained(optimizer, *options, **named_options):
    """The weights after ten steps of a traced graph, which is where mox uses optimizers."""
    made = []

    def build():
        weights = tf.compat.v1.get_variable("w", initializer=START.astype(np.float32))
        made.append(weights)
        loss = tf.reduce_sum(weights * (tf.constant(MATRIX, tf.float32) @ weights)) / 2 + tf.reduce_sum(weights)
        update = optimizer(*options, **named_options).minimize(loss)
        with tf.control_dependencies([update]):
            return tf.identity(loss)

    traced = tf.compat.v1.wrap_function(build, [])
    for _ in range(STEPS):
        traced()
    return made[0].numpy()


def walked(update):
    """The weights after ten calls of `update(weights, gradient, step)`, the first step being 1."""
    weights = START.copy()
    for step in range(1, STEPS + 1):
        weights = update(weights, gradient(weights), step)
    return weights


def assert_same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_sgd_goes_down_the_gradient():
    assert_same(trained(optimizers.sgd, 0.1), walked(lambda w, g, _: w - 0.1 * g))


def test_momentum_keeps_a_velocity():
    velocity = np.zeros_like(START)

    def update(weights, grad, _step):
        velocity[:] = 0.9 * velocity + grad
        return weights - 0.05 * velocity

    assert_same(trained(optimizers.momentum, 0.05, momentum=0.9), walked(update))


def test_nesterov_momentum_looks_ahead_by_one_velocity():
    # Sutskever et al. 2013 (eq. 3, 4), in the form of Bengio et al. 2012 (arXiv 1212.0901, eq. 7).
    velocity = np.zeros_like(START)

    def update(weights, grad, _step):
        velocity[:] = 0.8 * velocity + grad
        return weights - 0.05 * (grad + 0.8 * velocity)

    assert_same(trained(optimizers.momentum, 0.05, momentum=0.8, use_nesterov=True), walked(update))


@pytest.mark.parametrize(("beta1", "beta2", "epsilon"), [(0.9, 0.999, 1e-8), (0.5, 0.9, 0.1)])
def test_adam_follows_the_text_before_section_2_1_of_its_paper(beta1, beta2, epsilon):
    # arXiv 1412.6980, end of section 2: alpha_t = alpha sqrt(1 - beta2^t) / (1 - beta1^t), "epsilon hat".
    mean, square = np.zeros_like(START), np.zeros_like(START)

    def update(weights, grad, step):
        mean[:] = beta1 * mean + (1 - beta1) * grad
        square[:] = beta2 * square + (1 - beta2) * grad**2
        rate = 0.05 * np.sqrt(1 - beta2**step) / (1 - beta1**step)
        return weights - rate * mean / (np.sqrt(square) + epsilon)

    assert_same(trained(optimizers.adam, 0.05, beta1=beta1, beta2=beta2, epsilon=epsilon), walked(update))


def test_adagrad_divides_by_the_root_of_all_squares():
    # Duchi et al. 2011, fig. 1 with delta = 0; the sum begins at initial_accumulator_value.
    squares = np.full_like(START, 0.3)

    def update(weights, grad, _step):
        squares[:] += grad**2
        return weights - 0.2 * grad / np.sqrt(squares)

    assert_same(trained(optimizers.adagrad, 0.2, initial_accumulator_value=0.3), walked(update))


def test_adadelta_follows_algorithm_1_of_its_paper():
    # arXiv 1212.5701; the learning rate is a factor of the paper's step.
    squares, updates = np.zeros_like(START), np.zeros_like(START)

    def update(weights, grad, _step):
        squares[:] = 0.9 * squares + 0.1 * grad**2
        change = -np.sqrt(updates + 1e-3) / np.sqrt(squares + 1e-3) * grad
        updates[:] = 0.9 * updates + 0.1 * change**2
        return weights + 0.5 * change

    assert_same(trained(optimizers.adadelta, 0.5, rho=0.9, epsilon=1e-3), walked(update))


@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop_divides_by_the_root_of_a_running_mean_of_squares(centered):
    # Tieleman and Hinton 2012, lecture 6.5, slide 29; centered and momentum as Graves 2013
    # (arXiv 1308.0850, eq. 38-45). TensorFlow starts the mean of squares at 1.
    square, mean, velocity = np.ones_like(START), np.zeros_like(START), np.zeros_like(START)

    def update(weights, grad, _step):
        square[:] = 0.8 * square + 0.2 * grad**2
        mean[:] = 0.8 * mean + 0.2 * grad
        scale = square - mean**2 if centered else square
        velocity[:] = 0.7 * velocity + 0.02 * grad / np.sqrt(scale + 1e-4)
        return weights - velocity

    options = {"decay": 0.8, "momentum": 0.7, "epsilon": 1e-4, "centered": centered}
    assert_same(trained(optimizers.rmsprop, 0.02, **options), walked(update))


@pytest.mark.parametrize(("power", "l1", "l2"), [(-0.5, 0.0, 0.0), (-0.5, 0.4, 0.2), (-0.3, 0.4, 0.0)])
def test_ftrl_follows_algorithm_1_of_its_paper(power, l1, l2):
    # McMahan et al. 2013, algorithm 1 with beta = 0 and n^-power for sqrt(n); TensorFlow's l2 counts twice.
    squares, linear = np.full_like(START, 0.1), np.zeros_like(START)

    def update(weights, grad, _step):
        grown = squares + grad**2
        sigma = (grown**-power - squares**-power) / 0.3
        linear[:] += grad - sigma * weights
        squares[:] = grown
        quadratic = grown**-power / 0.3 + 2 * l2
        return np.where(np.abs(linear) > l1, (np.sign(linear) * l1 - linear) / quadratic, 0.0)

    options = {"learning_rate_power": power, "l1_regularization_strength": l1, "l2_regularization_strength": l2}
    assert_same(trained(optimizers.ftrl, 0.3, **options), walked(update))


def test_options_may_be_positional_as_in_tensorflow():
    assert_same(trained(optimizers.momentum, 0.05, 0.9), trained(optimizers.momentum, 0.05, momentum=0.9))


def test_an_unknown_option_is_refused_by_name():
    with pytest.raises(UsageError) as refusal:
        optimizers.momentum(0.1, momentun=0.9)
    assert str(refusal.value) == (
        "optimizer 'momentum' has no option 'momentun'.\n"
        "Did you mean 'momentum'?\n"
        "It takes: momentum, use_locking, name, use_nesterov."
    )


def test_a_missing_option_is_named():
    with pytest.raises(UsageError, match=r"optimizer 'momentum': missing a required argument: 'momentum'\. It takes: "):
        optimizers.momentum(0.1)


def test_the_signature_has_the_options_and_a_learning_rate_without_default():
    signature = inspect.signature(optimizers.adam)
    assert list(signature.parameters)[:4] == ["learning_rate", "beta1", "beta2", "epsilon"]
    assert signature.parameters["learning_rate"].default is inspect.Parameter.empty
    assert signature.parameters["beta2"].default == 0.999
