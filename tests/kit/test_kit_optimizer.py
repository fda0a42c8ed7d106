"""OptimizerContract and OptimizerWrapperContract find what is wrong, and nothing in good ones."""

import pytest

from mox_core.testing import OptimizerContract, OptimizerWrapperContract

OPTIMIZER = """
import functools

import numpy as np
import tensorflow as tf

from mox_core.sdk import slot
from mox_core.plugins import OptimizerOffer, hookimpl

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("kit_momentum", "kit.plugin:make", summary="momentum")

KEPT = []

def make(learning_rate, *, momentum=0.9):
    if momentum >= 1:
        raise ValueError(f"momentum is {momentum}, and must be below 1")
    KEPT.append(1)
    return Momentum(learning_rate, momentum)

class Momentum:
    def __init__(self, learning_rate, momentum):
        self.learning_rate, self.momentum = learning_rate, momentum

    def apply_gradients(self, grads_and_vars):
        for gradient, variable in grads_and_vars:
            velocity = slot(variable, "velocity", functools.partial(tf.zeros, variable.shape))
            velocity.assign(self.momentum * velocity + gradient)
            variable.assign_sub(self.learning_rate * velocity)
"""
SLOT = 'slot(variable, "velocity", functools.partial(tf.zeros, variable.shape))'
COUNTING = """

class Counter:
    def __init__(self):
        self.count = np.float32(0)

    def next(self):
        self.count += np.float32(1)
        return self.count / np.float32(10)
"""
WRAPPER = """
import numpy as np
import tensorflow as tf

from mox_core.sdk import OptimizerWrapper, state_variable
from mox_core.plugins import OptimizerWrapperOffer, hookimpl

@hookimpl
def mox_optimizer_wrappers():
    yield OptimizerWrapperOffer("kit_fading", "kit.plugin:fading", summary="smaller and smaller gradients")

KEPT = []

def fading(optimizer, *, rate=0.9):
    if not 0 < rate < 1:
        raise ValueError(f"rate is {rate}, and must be between 0 and 1")
    KEPT.append(1)
    return Fading(optimizer, rate)

class Fading(OptimizerWrapper):
    def __init__(self, optimizer, rate):
        super().__init__(optimizer)
        self.rate = rate

    def apply_gradients(self, grads_and_vars):
        factor = state_variable("fading/factor", lambda: tf.ones([]))
        factor.assign(self.rate * factor)
        self.optimizer.apply_gradients([(factor * gradient, variable) for gradient, variable in grads_and_vars])
"""
DOWNHILL, STATE, TWO, UNKNOWN, BAD = (
    "test_it_goes_downhill",
    "test_its_state_survives_save_and_restore",
    "test_two_replicas_train_as_one",
    "test_it_refuses_unknown_options_by_name",
    "test_it_refuses_bad_options_by_name",
)


class Contract(OptimizerContract):
    optimizer = "kit_momentum"
    options = {"learning_rate": 0.05, "momentum": 0.5}
    bad_options = {"momentum": 1.5}


class WrapperContract(OptimizerWrapperContract):
    wrapper = "kit_fading"
    options = {"rate": 0.95}
    bad_options = {"rate": 1.0}
    steps = 6


def test_a_good_optimizer_passes(install, run_check):
    install(OPTIMIZER)
    run_check(Contract)


@pytest.mark.parametrize(
    ("old", "new", "check", "words"),
    [
        (
            "assign_sub",
            "assign_add",
            DOWNHILL,
            "optimizer 'kit_momentum' does not go downhill: the loss of a quadratic",
        ),
        ("for gradient", "raise ValueError('stuck')\n        for gradient", DOWNHILL, "fails: ValueError: stuck"),
        (SLOT, "None", DOWNHILL, "training with optimizer 'kit_momentum' fails: "),
        (
            "self.learning_rate * velocity",
            "tf.numpy_function(COUNTER.next, [], tf.float32) * velocity",
            STATE,
            "forgets something over a resume: 10 steps differ from 5 steps, a checkpoint and the rest in bias, bias/ve",
        ),
        ("*, momentum=0.9", "*, momentum=0.9, **others", UNKNOWN, "takes no_such_option=1 without a word: refuse what"),
        (
            "*, momentum=0.9):",
            "*, momentum=0.9, **others):\n    if others:\n        raise ValueError('bad option')",
            UNKNOWN,
            "refuses no_such_option=1 without naming the option: ValueError: bad option",
        ),
        ("if momentum >= 1", "if momentum >= 2", BAD, "optimizer 'kit_momentum' takes momentum=1.5 without a word"),
        ('f"momentum is {momentum}, and must be below 1"', '"no"', BAD, "refuses momentum=1.5 without naming"),
    ],
)
def test_what_is_wrong_with_an_optimizer_is_found(install, caught, old, new, check, words):
    install(OPTIMIZER + COUNTING, (old, new), ("KEPT.append(1)", "global COUNTER; COUNTER = Counter()"))
    caught(Contract, check, words)


@pytest.mark.slow
def test_an_optimizer_whose_replicas_differ_is_found(install, caught):
    install(
        OPTIMIZER, ("return Momentum(learning_rate, momentum)", "return Momentum(learning_rate * len(KEPT), momentum)")
    )
    caught(Contract, TWO, "trains two replicas to other weights than one with batches twice as large: ")


@pytest.mark.slow
def test_an_optimizer_that_fails_on_two_devices_is_found(install, caught):
    install(OPTIMIZER, ("KEPT.append(1)", "KEPT.append(1); assert len(KEPT) < 2, 'only one'"))
    caught(Contract, TWO, "a training on two devices fails:")


@pytest.mark.slow
def test_options_that_no_other_process_can_be_given_are_told(install, caught):
    install(OPTIMIZER)

    class Rate(float):
        """Known here only."""

    class Local(Contract):
        options = {"learning_rate": Rate(0.1)}

    caught(Local, TWO, "handing the options to another process")


@pytest.mark.parametrize("inside", ["tf1", "keras"])
def test_a_good_wrapper_passes(install, run_check, inside):
    install(WRAPPER)
    run_check(WrapperContract, inside=inside)


@pytest.mark.parametrize(
    ("old", "new", "check", "inside", "words"),
    [
        ("(factor * gradient", "(-gradient", DOWNHILL, "tf1", "around tf.compat.v1.train.MomentumOptimizer"),
        (
            "self.rate = rate",
            "self.rate = rate * optimizer._momentum",
            DOWNHILL,
            "keras",
            "around keras.optimizers.SGD",
        ),
        (
            "factor.assign(self.rate * factor)",
            "factor = tf.numpy_function(COUNTER.next, [], tf.float32)",
            STATE,
            "tf1",
            "forgets something over a resume: 6 steps differ from 3 steps, a checkpoint and the rest in bias, ",
        ),
        ("*, rate=0.9", "*, rate=0.9, **others", UNKNOWN, None, "optimizer wrapper 'kit_fading' around tf.compat.v1"),
        ("0 < rate < 1", "0 < rate < 2", BAD, None, "takes rate=1.0 without a word"),
    ],
)
def test_what_is_wrong_with_a_wrapper_is_found(install, caught, old, new, check, inside, words):
    install(WRAPPER + COUNTING, (old, new), ("KEPT.append(1)", "global COUNTER; COUNTER = Counter()"))
    caught(WrapperContract, check, words, **({"inside": inside} if inside else {}))


@pytest.mark.slow
def test_a_wrapper_whose_replicas_differ_is_found(install, caught):
    install(WRAPPER, ("return Fading(optimizer, rate)", "return Fading(optimizer, rate / len(KEPT))"))
    caught(WrapperContract, TWO, "trains two replicas to other weights than one")
