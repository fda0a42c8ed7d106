"""What of the optimizer comes along from checkpoint_path: all of it with the global step, nothing without."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from checkpoints import values_of

v1 = tf.compat.v1


@pytest.fixture(autouse=True)
def exclude():
    """Sets the flag for one test."""
    yield lambda patterns: mox.set_flag("checkpoint_exclude_patterns", patterns)
    mox.set_flag("checkpoint_exclude_patterns", "")


def slope(inputs, mode):
    """loss = w * x with x = 1: each step moves w by the learning rate."""
    del mode
    return mox.ModelSpec(loss=v1.get_variable("w", initializer=0.0) * tf.reduce_mean(inputs[0]))


def of_tf1():
    rate = v1.train.exponential_decay(1.0, v1.train.get_global_step(), 2, 0.5, staircase=True)
    return v1.train.MomentumOptimizer(rate, 0.5)


def of_keras():
    schedule = keras.optimizers.schedules.ExponentialDecay(1.0, 2, 0.5, staircase=True)
    return keras.optimizers.SGD(schedule, momentum=0.5)


def train(optimizer_fn, folder, steps, **options):
    result = mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensors(1.0).repeat(),  # noqa: ARG005
        model_fn=slope,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=1,
        max_number_of_steps=steps,
        log_dir=folder,
        **options,
    )
    return values_of(result.checkpoint)


@pytest.mark.parametrize(
    ("make", "state"),
    [(of_tf1, "w/Momentum"), (of_keras, "sgd/iteration, sgd/w_0_momentum")],
    ids=["TF1", "Keras"],
)
def test_without_the_global_step_schedules_and_slots_begin_anew(make, state, exclude, said, tmp_path):
    before = train(make, tmp_path / "first", 4)
    exclude("global_step")
    after = train(make, tmp_path / "tuned", 1, checkpoint_path=tmp_path / "first")
    assert after["w"] == before["w"] - 1  # one step with the first rate, and no momentum
    assert after["global_step"] == after.get("sgd/iteration", 1) == 1
    (line,) = said.starting("The global step")
    assert line == (
        "INFO:tensorflow:The global step begins at 0, and so do learning rates that follow it. What optimizers keep "
        f"begins anew: {state}."
    )


@pytest.mark.parametrize("make", [of_tf1, of_keras], ids=["TF1", "Keras"])
def test_with_the_global_step_training_goes_on_as_if_it_had_not_been_interrupted(make, said, tmp_path):
    whole = train(make, tmp_path / "whole", 5)
    train(make, tmp_path / "first", 3)
    said.clear()
    tuned = train(make, tmp_path / "tuned", 5, checkpoint_path=tmp_path / "first")
    assert [name for name in whole if not name.startswith("mox/") and whole[name] != tuned[name]] == []
    (line,) = said.starting("The global step")
    assert line.startswith(
        "INFO:tensorflow:The global step goes on at 3, and so do learning rates that follow it. "
        "What optimizers keep goes on: "
    )
    assert "anew" not in line
    assert line.endswith(". To begin with the weights alone: --checkpoint_exclude_patterns=global_step.")


def test_what_another_optimizer_has_not_kept_begins_anew_and_is_named(said, tmp_path):
    train(of_tf1, tmp_path / "first", 3)
    said.clear()
    train(of_keras, tmp_path / "tuned", 4, checkpoint_path=tmp_path / "first")
    (line,) = said.starting("The global step goes on")
    assert line == (
        "INFO:tensorflow:The global step goes on at 3, and so do learning rates that follow it. "
        "What optimizers keep begins anew: sgd/iteration, sgd/w_0_momentum. To begin with the weights alone: "
        "--checkpoint_exclude_patterns=global_step."
    )


def test_a_checkpoint_without_a_global_step_gives_the_weights_alone(tmp_path):
    values = {"w": np.float32(5), "w/Momentum": np.float32(100)}
    names = sorted(values)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "net.ckpt"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[values[name] for name in names],
    )
    assert train(of_tf1, tmp_path / "log", 1, checkpoint_path=tmp_path / "net.ckpt")["w"] == 4


def test_parts_of_a_variable_have_slots_are_resumed_and_evaluated(tmp_path):
    features = np.random.default_rng(7).normal(size=(16, 6)).astype(np.float32)

    def model_fn(inputs, mode):
        del mode
        with v1.variable_scope("s", partitioner=v1.fixed_size_partitioner(3)):
            w = v1.get_variable("w", [6, 1], initializer=v1.ones_initializer())
        loss = tf.reduce_mean((inputs[0] @ tf.convert_to_tensor(w)) ** 2)
        return mox.ModelSpec(loss=loss, log_info={"loss": loss})

    def run(name, mode=mox.ModeKeys.TRAIN, **options):
        return mox.run(
            input_fn=lambda mode: tf.data.Dataset.from_tensor_slices(features).repeat(10),  # noqa: ARG005
            model_fn=model_fn,
            optimizer_fn=lambda: v1.train.MomentumOptimizer(0.1, 0.5),
            run_mode=mode,
            batch_size=16,
            log_dir=tmp_path / name,
            **options,
        )

    whole = run("whole", max_number_of_steps=4)
    run("parts", max_number_of_steps=2)
    parts = run("parts", max_number_of_steps=4)
    weights, velocity = np.ones([6, 1]), 0.0
    for _ in range(4):
        velocity = 0.5 * velocity + 2 * features.T.astype(float) @ (features @ weights) / 16
        weights = weights - 0.1 * velocity
    for result in (whole, parts):
        reader = tf.train.load_checkpoint(result.checkpoint)
        for name, expected in (("s/w/part_{}", weights), ("s/w/part_{}/Momentum", velocity)):
            found = np.concatenate([reader.get_tensor(name.format(part)) for part in range(3)])
            np.testing.assert_allclose(found, expected, rtol=1e-5)
    evaluated = run("whole", mox.ModeKeys.EVAL)
    assert evaluated.metrics["loss"] == pytest.approx(np.mean((features @ weights) ** 2), rel=1e-5)
