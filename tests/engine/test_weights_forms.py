"""A file of weights fits whichever way the layers of a model are put together."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

FORMS = {}


def form(build):
    """Counts the layers without names in the order in which they follow each other."""
    FORMS[build.__name__] = build
    return build


@form
def functional():
    inputs = keras.Input([6])
    return keras.Model(inputs, calls(inputs))


@form
def sequential():
    return keras.Sequential([keras.Input([6]), keras.layers.Dense(4), keras.layers.Dense(4), keras.layers.Dense(3)])


@form
def subclassed():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [keras.layers.Dense(4), keras.layers.Dense(4), keras.layers.Dense(3)]

        def call(self, inputs):
            for part in self.parts:
                inputs = part(inputs)
            return inputs

    return Net()


@form
def around_a_backbone():
    inputs = keras.Input([6])
    features = keras.layers.Dense(4)(inputs)
    features = keras.layers.Dense(4)(features)
    return keras.Sequential([keras.Input([6]), keras.Model(inputs, features, name="backbone"), keras.layers.Dense(3)])


@form
def around_a_sequential():
    inputs = keras.Input([6])
    features = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(4)])(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(features))


@form
def in_scopes():
    """As NASNet in keras.applications: scopes of Keras that are in the paths of variables, and not in files."""
    inputs = keras.Input([6])
    with keras.name_scope("cell"):
        net = keras.layers.Dense(4)(inputs)
        with keras.name_scope("inner"):
            net = keras.layers.Dense(4)(net)
    return keras.Model(inputs, keras.layers.Dense(3)(net))


def calls(images):
    for size in (4, 4, 3):
        images = keras.layers.Dense(size)(images)
    return images


@pytest.mark.parametrize("written", FORMS)
def test_a_file_fits_whichever_way_the_layers_are_put_together(written, tmp_path):
    rows = np.random.default_rng(6).uniform(size=(4, 6)).astype(np.float32)
    model = FORMS[written]()
    model(rows)
    random = np.random.default_rng(7)
    model.set_weights([random.normal(size=each.shape) for each in model.get_weights()])
    expected = model.predict(rows, verbose=0)
    model.save_weights(tmp_path / "net.weights.h5")

    def model_fn(inputs, mode):
        """All forms in one model, each under a scope of its own."""
        del mode
        found = {}
        for name, build in (FORMS | {"calls": lambda: calls}).items():
            with tf.compat.v1.variable_scope(name):
                found[name] = build()(inputs[0])
        return mox.ModelSpec(output_info=found)

    outputs = []
    mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensor_slices(rows),  # noqa: ARG005
        model_fn=model_fn,
        run_mode=mox.ModeKeys.PREDICT,
        batch_size=4,
        checkpoint_path=dict.fromkeys([*FORMS, "calls"], tmp_path / "net.weights.h5"),
        output_fn=outputs.extend,
        output_every_n_steps=1,
    )
    for name in (*FORMS, "calls"):
        np.testing.assert_allclose(outputs[0][name], expected, atol=1e-5, err_msg=name)
