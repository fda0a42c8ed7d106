"""Keras models that go through JSON in `model_fn` have the same names in all processes."""

import keras
import pytest
import tensorflow as tf

import mox_core as mox

LAYERS = keras.layers


def _two_inputs(sequence, numbers):
    net = LAYERS.LSTM(8)(LAYERS.Embedding(50, 8)(sequence))
    auxiliary = LAYERS.Dense(1, activation="sigmoid", name="auxiliary")(net)
    net = LAYERS.Dense(8, activation="relu")(keras.layers.concatenate([net, numbers]))
    return LAYERS.Dense(1, activation="sigmoid", name="main")(net), auxiliary


def _two_input_fn(mode):
    del mode
    sequence = tf.random.uniform([10], 1, 50, tf.int32)
    return sequence, tf.random.normal([5]), tf.cast(sequence[:1] > 25, tf.float32)


@pytest.fixture
def run_two_inputs():
    def run(network, log_dir, run_mode=mox.ModeKeys.TRAIN, steps=4):
        def model_fn(inputs, mode):
            del mode
            sequence, numbers, labels = inputs
            loss = 0.0
            for weight, output in zip((1.0, 0.2), network(sequence, numbers), strict=True):
                loss += weight * tf.reduce_mean(keras.losses.binary_crossentropy(labels, output))
            return mox.ModelSpec(loss=loss, log_info={"loss": loss})

        return mox.run(
            input_fn=_two_input_fn,
            model_fn=model_fn,
            optimizer_fn=lambda: keras.optimizers.RMSprop(0.01),
            run_mode=run_mode,
            batch_size=4,
            log_dir=log_dir,
            max_number_of_steps=steps,
        )

    return run


def test_a_model_goes_through_json_and_keeps_its_names(run_two_inputs, variables, tmp_path):
    LAYERS.Dense(1)  # moves the counters of Keras: they must not matter
    saved = tmp_path / "model.json"

    def layers_of_model_fn(sequence, numbers):
        inner = keras.Input([10], dtype="int32"), keras.Input([5])
        saved.write_text(keras.Model(inner, _two_inputs(*inner)).to_json(), encoding="utf-8")
        return keras.models.model_from_json(saved.read_text(encoding="utf-8"))([sequence, numbers])

    plain = run_two_inputs(_two_inputs, tmp_path / "plain")
    loaded = run_two_inputs(layers_of_model_fn, tmp_path / "loaded")
    names = set(variables(plain.checkpoint))
    assert {"embedding/embeddings", "lstm/lstm_cell/kernel", "dense/kernel", "main/kernel", "auxiliary/bias"} < names
    assert set(variables(loaded.checkpoint)) == names
    # The same weights under either form: each evaluates the other's checkpoint.
    evaluated = {
        (form, network): run_two_inputs(network, tmp_path / form, mox.ModeKeys.EVAL, steps=2).metrics["loss"]
        for form in ("plain", "loaded")
        for network in (_two_inputs, layers_of_model_fn)
    }
    for form in ("plain", "loaded"):
        assert evaluated[form, _two_inputs] == pytest.approx(evaluated[form, layers_of_model_fn], rel=1e-6)
