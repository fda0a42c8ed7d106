"""What optimizers do beside `apply_gradients`, against plain loops in NumPy and `fit` of Keras."""

import json
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import forked
import mox_core as mox
import optimizer_cases as cases

v1 = tf.compat.v1


@pytest.mark.parametrize("case", cases.GRADIENTS)
def test_an_optimizer_does_with_gradients_what_it_does_in_a_plain_loop(case, tmp_path):
    make, flags, expected = cases.GRADIENTS[case]
    found = cases.train(make, tmp_path, flags=flags)
    np.testing.assert_allclose(found["w"].ravel(), expected(), atol=1e-6)
    assert found["unused"] == 1


@pytest.mark.parametrize("inside", cases.INSIDE)
@pytest.mark.parametrize(
    ("model_fn", "weights"), [(cases.constrained_model, "w"), (cases.constrained_layer, "d/kernel")]
)
def test_constraints_are_applied_once_after_each_update_by_any_optimizer(model_fn, weights, inside, tmp_path):
    make = cases.INSIDE[inside]
    found = cases.train(make, tmp_path / "each", model_fn=model_fn)
    np.testing.assert_allclose(found[weights].ravel(), cases.plain_loop(on_weights=cases.shrunk), atol=1e-6)
    if inside in {"TF1", "Keras, by hand"}:  # and no other steps: the others are run on two devices
        found = cases.train(lambda: cases.every_third(make()), tmp_path / "third", model_fn=model_fn)
        expected = cases.plain_loop(on_weights=cases.shrunk, every=3)
        np.testing.assert_allclose(found[weights].ravel(), expected, atol=1e-6)


@pytest.mark.slow
def test_on_two_devices_they_train_as_on_one(tmp_path):
    command = [sys.executable, str(Path(cases.__file__)), str(tmp_path)]
    done = forked.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["different"] == {}
    kept, of_samples = found["refused"]
    line = r"\(optimizer_cases.py:\d+\)"
    where = rf"Adding {line} uses a tensor that model_fn has made {line}, and that "
    assert re.match(where + "is one of another replica: .* by mox.get_collection: each replica has its own.$", kept)
    assert re.match(where + "depends on the samples of one replica, and would not be averaged", of_samples)


def test_a_loss_of_samples_that_an_optimizer_adds_counts_if_it_is_that_of_the_step_or_is_refused(tmp_path):
    def adding():
        return cases.Adding(cases.RATE, lambda: [cases.KEPT["of_samples"]])

    found = cases.train(adding, tmp_path / "scaled", flags=cases.DYNAMIC)
    expected = cases.plain_loop(lambda gradient, weights: (1 + cases.DECAY) * gradient)  # noqa: ARG005
    np.testing.assert_allclose(found["w"].ravel(), expected, atol=1e-6)
    for flags in ({}, cases.DYNAMIC):
        words = cases.refused(lambda: cases.every_third(adding()), None, flags=flags)
        assert "depends on the samples of the last of the steps whose gradients are applied as one" in words


def test_a_constraint_of_lars_is_applied_after_its_update(tmp_path):
    found = cases.train(
        lambda: mox.get_optimizer_wrapper_fn("lars", v1.train.GradientDescentOptimizer(1.0), ratio=0.5)(),  # noqa: PLW0108  (in the graph)
        tmp_path,
        model_fn=cases.constrained_layer,
        steps=1,
    )
    weights = np.ones([3, 1])
    gradient = 2 * cases.X[:8].T @ (cases.X[:8] @ weights - cases.Y[:8]) / 8
    factor = 0.5 * np.sqrt(3) / (np.linalg.norm(gradient) + 1e-4 * np.sqrt(3))
    expected = cases.shrunk(weights - factor * (gradient + 1e-4 * weights))
    np.testing.assert_allclose(found["d/kernel"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: v1.train.GradientDescentOptimizer(1.0), lambda: keras.optimizers.SGD(1.0)], ids=["TF1", "Keras"]
)
def test_an_embedding_with_a_constraint_is_trained_by_sparse_gradients(make, tmp_path):
    def model_fn(inputs, mode):
        del mode
        layer = keras.layers.Embedding(
            4, 2, embeddings_initializer="zeros", embeddings_constraint="non_neg", name="table"
        )
        return mox.ModelSpec(loss=tf.reduce_sum(layer(inputs[0]) * [1.0, -1.0]))

    found = cases.train(
        make,
        tmp_path,
        model_fn=model_fn,
        steps=1,
        input_fn=lambda mode: tf.data.Dataset.from_tensor_slices([1, 1, 2, 3, 1, 3, 2, 2]).repeat(),  # noqa: ARG005
    )
    np.testing.assert_array_equal(found["table/embeddings"], [[0, 0], [0, 3], [0, 3], [0, 2]])


def test_noise_of_an_optimizer_is_drawn_again_in_a_resumed_run(tmp_path):
    class Noisy(v1.train.GradientDescentOptimizer):
        def compute_gradients(self, *args, **kwargs):
            pairs = super().compute_gradients(*args, **kwargs)
            return [(each + tf.random.normal(each.shape), own) for each, own in pairs if each is not None]

    whole = cases.train(lambda: Noisy(0.1), tmp_path / "whole")
    cases.train(lambda: Noisy(0.1), tmp_path / "parts", steps=2)
    parts = cases.train(lambda: Noisy(0.1), tmp_path / "parts")
    np.testing.assert_array_equal(parts["w"], whole["w"])
    assert np.abs(whole["w"].ravel() - cases.plain_loop()).max() > 0.01


def test_a_loss_scaling_optimizer_keeps_gradients_that_float16_rounds_to_zero(tmp_path):
    def model_fn(inputs, mode):
        del inputs, mode
        w = v1.get_variable("w", initializer=0.0)
        small = tf.cast(w, tf.float16) * tf.constant(2.0**-14, tf.float16) * tf.constant(2.0**-14, tf.float16)
        return mox.ModelSpec(loss=small)

    def scaled_by(make):
        return cases.train(make, tmp_path / make.__name__, model_fn=model_fn, steps=1)["w"]

    def of_keras():
        return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0))

    def of_tf1():
        return cases.of_tf1_scaled()

    assert scaled_by(of_keras) == pytest.approx(-(2.0**-28))
    assert scaled_by(of_tf1) == pytest.approx(-cases.RATE * 2.0**-28)


def test_a_step_that_a_loss_scaling_optimizer_skips_changes_nothing_and_halves_the_scale(tmp_path):
    def model_fn(inputs, mode):
        del mode
        w = v1.get_variable("w", initializer=1.0)
        return mox.ModelSpec(loss=tf.reduce_mean(inputs[0]) * w)

    steps = tf.data.Dataset.from_tensor_slices(np.float32([1, 1e37, 1]))
    found = cases.train(
        lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.25)),
        tmp_path,
        model_fn=model_fn,
        steps=3,
        batch_size=1,
        input_fn=lambda mode: steps,  # noqa: ARG005
    )
    assert found["w"] == 0.5
    assert found["loss_scale_optimizer/dynamic_scale"] == 2.0**14
    assert found["sgd/iteration"] == 2


def _multi():
    of_hidden = {"net/hidden/.*": keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.7)}
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.05), of_hidden))


ASK_FOR_NAMES = {
    "Adafactor": lambda: keras.optimizers.Adafactor(0.05),
    "Muon": lambda: keras.optimizers.Muon(0.05, exclude_layers=["net/out"]),
    "ScheduleFreeAdamW": lambda: keras.optimizers.ScheduleFreeAdamW(0.05),  # it begins with a copy of the weights
    "MultiOptimizer": _multi,
}


@pytest.mark.parametrize("kind", [kind for kind in ASK_FOR_NAMES if hasattr(keras.optimizers, kind)])
def test_optimizers_of_keras_that_ask_for_names_and_weights_train_as_in_a_loop_of_keras_also_in_parts(kind, tmp_path):
    pretrained = [np.random.default_rng(5).normal(size=size).astype(np.float32) for size in ([3, 4], [4], [4, 1], [1])]

    def net():
        hidden, out = keras.layers.Dense(4, "tanh", name="hidden"), keras.layers.Dense(1, name="out")
        made = keras.Sequential([keras.Input([3]), hidden, out], name="net")
        made.set_weights(pretrained)
        return made

    def model_fn(inputs, mode):
        del mode
        return mox.ModelSpec(loss=tf.reduce_mean((net()(inputs[0]) - inputs[1]) ** 2))

    make = ASK_FOR_NAMES[kind]
    cases.train(make, tmp_path, model_fn=model_fn, steps=2)
    found = cases.train(make, tmp_path, model_fn=model_fn)
    model, optimizer = net(), make()
    for step in range(cases.STEPS):
        rows = np.arange(8 * step, 8 * step + 8) % 40
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(cases.X[rows]) - cases.Y[rows]) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    optimizer.finalize_variable_values(model.trainable_variables)
    for variable in model.variables:
        np.testing.assert_allclose(found[variable.path], variable, atol=1e-6)
