"""`GradualUnfreezingHook`: frozen variables join the training at their steps, and are left alone before."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import values_of

STEPS, RATE = 9, 0.1
STARTS = {"head/a": 0, "block2/b": 3, "block1/c": 6}
FIRST = {"head/a": 1.0, "block2/b": -2.0, "block1/c": 4.0}
AIM = 3.0
SCHEDULE = {"^block2": 3, "^block1": np.int64(6)}


@pytest.fixture(autouse=True)
def _frozen():
    mox.set_flag("trainable_include_patterns", "^head")
    yield
    for name in ("trainable_include_patterns", "gradient_clip_type"):
        mox.set_flag(name, "")
    mox.set_flag("gradient_clip", 0)


def train(log_dir, optimizer_fn, steps=STEPS, schedule=SCHEDULE):
    def model_fn(inputs, mode):
        del mode
        loss = 0.0 * tf.reduce_sum(inputs[0])
        for name, value in FIRST.items():
            loss += 0.5 * (tf.compat.v1.get_variable(name, initializer=value) - AIM) ** 2
        return mox.ModelSpec(loss=loss, hooks=[mox.GradualUnfreezingHook(schedule)])

    result = mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensors(0.0).repeat(),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        max_number_of_steps=steps,
        log_dir=log_dir,
    )
    return values_of(result.checkpoint)


def momentum(w, start):
    velocity = 0.0
    for _ in range(start, STEPS):
        velocity = 0.9 * velocity + w - AIM
        w -= RATE * velocity
    return w


def adam(w, start, decay=0.0):
    """The steps count from the beginning of the training, the moments from where the variable joins."""
    m = v = 0.0
    for step in range(start + 1, STEPS + 1):
        gradient = w - AIM
        w -= RATE * decay * w
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        w -= RATE * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-7)
    return w


RULES = {
    "momentum": (mox.get_optimizer_fn("momentum", RATE, momentum=0.9), momentum),
    "adam": (mox.get_optimizer_fn("adam", RATE, epsilon=1e-7), adam),
    "Keras SGD": (lambda: keras.optimizers.SGD(RATE, momentum=0.9), momentum),
    "Keras AdamW": (
        lambda: keras.optimizers.AdamW(RATE, weight_decay=0.1),
        lambda w, start: adam(w, start, decay=0.1),
    ),
}


@pytest.mark.parametrize("kind", RULES)
def test_a_variable_is_trained_from_its_step_on_and_its_slots_begin_there(kind, tmp_path, said):
    make, rule = RULES[kind]
    found = train(tmp_path, make)
    expected = {name: rule(FIRST[name], start) for name, start in STARTS.items()}
    assert {name: float(found[name]) for name in STARTS} == pytest.approx(expected, rel=1e-4)
    assert said.starting("[GradualUnfreezing]") == [
        "INFO:tensorflow:[GradualUnfreezing] step: 3 ^block2 is trained too: 1 variables",
        "INFO:tensorflow:[GradualUnfreezing] step: 6 ^block1 is trained too: 1 variables",
    ]


@pytest.mark.parametrize("kind", ["adam", "Keras AdamW"])
def test_a_resumed_run_goes_on_with_the_schedule(kind, tmp_path):
    whole = train(tmp_path / "whole", RULES[kind][0])
    for steps in (2, 5, STEPS):
        parts = train(tmp_path / "parts", RULES[kind][0], steps)
    assert whole.keys() == parts.keys()
    assert {name for name in whole if not np.array_equal(whole[name], parts[name])} <= {"mox/seed"}


def test_until_its_step_a_variable_counts_in_no_norm(tmp_path):
    mox.set_flag("gradient_clip_type", "norm")
    mox.set_flag("gradient_clip", 0.5)
    found = train(tmp_path, mox.get_optimizer_fn("sgd", RATE), steps=1)
    assert found["head/a"] == pytest.approx(1 + RATE * 0.5)


def test_it_unfreezes_inside_of_wrappers(tmp_path):
    def optimizer_fn():
        inside = mox.get_optimizer_fn("sgd", RATE)()
        inside = mox.get_optimizer_wrapper_fn("rate_multipliers", inside, multipliers={"block": 0.5})()
        return mox.get_optimizer_wrapper_fn("batch_gradients", inside, num_batches=2)()

    found = train(tmp_path, optimizer_fn, steps=4, schedule={"block2": 3})
    assert found["block2/b"] == pytest.approx(-2 + 0.5 * RATE * 5 / 2), "of steps 2 and 3, the second counts"
    assert found["block1/c"] == 4


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ({}, "steps of GradualUnfreezingHook is {}; it must map patterns of names to global steps"),
        ({"block1": 0}, "has 0 for 'block1'; it must be a whole number, 1 or more"),
        ({"*block": 5}, r"holds '\*block', which is no regular expression"),
        ({"blokc1": 5}, "holds 'blokc1', which matches no variable. Did you mean 'block1'"),
        ({"head": 5}, "a hook unfreezes 'head', and nothing of that name is frozen"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_with_the_way_out(schedule, words):
    with pytest.raises(mox.UsageError, match=words):
        train(None, RULES["momentum"][0], schedule=schedule)
