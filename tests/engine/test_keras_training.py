"""What `training` is where `model_fn` calls a Keras model or layer without saying it, beside what `fit` does."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

LAYERS = keras.layers
STEPS, BATCH, WIDTH = 4, 8, 400
FEATURES = np.random.default_rng(1).normal(3, 1, [STEPS * BATCH, WIDTH]).astype(np.float32)
BATCHES = FEATURES.reshape([STEPS, BATCH, WIDTH])
NOT_BY_CHANCE = 5 * np.sqrt(0.25 / (BATCH * WIDTH))  # five deviations of a fraction that is 0.5


def _input_fn(mode):
    dataset = tf.data.Dataset.from_tensor_slices(FEATURES)
    return dataset.repeat() if mode == mox.ModeKeys.TRAIN else dataset


def _run(body, log_dir=None, run_mode=mox.ModeKeys.TRAIN, **options):
    """Run a function of (features, mode) that returns values for the log, beside a weight to be trained."""

    def model_fn(inputs, mode):
        values = {name: tf.cast(value, tf.float32) for name, value in body(inputs[0], mode).items()}
        loss = tf.compat.v1.get_variable("beside", [])
        return mox.ModelSpec(loss=loss, log_info=values, export_spec=mox.ExportSpec({"x": inputs[0]}, values))

    return mox.run(
        input_fn=_input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.0),
        run_mode=run_mode,
        batch_size=BATCH,
        log_dir=log_dir,
        log_every_n_steps=1,
        max_number_of_steps=STEPS if run_mode == mox.ModeKeys.TRAIN else 0,
        **options,
    )


def _parts(name):
    return LAYERS.BatchNormalization(name=f"norm_{name}", momentum=0.9), LAYERS.Dropout(0.5, name=f"drop_{name}")


def _sequential(name):
    return keras.Sequential([*_parts(name)], name=name)


def _functional(name):
    entry = keras.Input([WIDTH])
    norm, drop = _parts(name)
    return keras.Model(entry, drop(norm(entry)), name=name)


def _nested(name):
    return keras.Sequential([LAYERS.Identity(), keras.Sequential([_functional(name)], name=f"within_{name}")])


class _Passing(keras.Model):
    def __init__(self, name):
        super().__init__(name=name)
        self.norm, self.drop = _parts(name)

    def call(self, features, training=None):
        return self.drop(self.norm(features, training=training), training=training)


class _Silent(_Passing):
    def call(self, features):
        return self.drop(self.norm(features))


class _Required(_Passing):
    def call(self, features, *, training):
        return super().call(features, training)


class _Decorated(_Passing):
    @tf.function
    def call(self, features):
        return self.drop(self.norm(features))


def _function(name):
    return tf.function(_sequential(name))


def _layers(name):
    norm, drop = _parts(name)
    return lambda features: drop(norm(features))


KINDS = {
    "sequential": _sequential,
    "functional": _functional,
    "nested": _nested,
    "passing": _Passing,
    "silent": _Silent,
    "required": _Required,
    "layers": _layers,
    "function": _function,
    "decorated": _Decorated,
}


def _zeros(value):
    return tf.reduce_mean(tf.cast(value == 0, tf.float32))


def _moved(batches):
    """The moving average of the mean, from zero, by its formula."""
    mean = np.zeros(WIDTH)
    for batch in batches:
        mean = 0.9 * mean + 0.1 * batch.astype(np.float64).mean(axis=0)
    return mean


def test_what_is_called_without_a_word_trains_in_train_and_in_no_other_mode(variables, tmp_path):
    outside = {f"outer_{kind}": make(f"outer_{kind}") for kind, make in KINDS.items()}
    for network in outside.values():  # as somebody does who looks at it; TensorFlow keeps graphs of functions
        network(tf.constant(FEATURES[:BATCH]), **({"training": False} if isinstance(network, _Required) else {}))
    exported = {}

    def body(features, mode):
        del mode
        networks = {**outside, **{kind: make(kind) for kind, make in KINDS.items()}}
        return {name: _zeros(network(features)) for name, network in networks.items()}

    def exporter(model, directory):
        del directory
        exported.update(model.function(x=tf.constant(FEATURES)))

    found = variables(_run(body, tmp_path, export_model=exporter).checkpoint)
    averages = {name: value for name, value in found.items() if name.endswith("moving_mean")}
    assert len(averages) == 2 * len(KINDS)
    for name, value in averages.items():
        np.testing.assert_allclose(value, _moved(BATCHES), rtol=1e-5, err_msg=name)
    assert {name: float(value) for name, value in exported.items()} == dict.fromkeys(exported, 0.0)
    trained = _run(body, run_mode=mox.ModeKeys.TRAIN).metrics
    assert {name for name, zeros in trained.items() if abs(zeros - 0.5) > NOT_BY_CHANCE} == set()
    evaluated = _run(body, tmp_path, mox.ModeKeys.EVAL).metrics
    assert evaluated == dict.fromkeys(evaluated, 0.0)
    assert len(evaluated) == len(exported) == 2 * len(KINDS)


def test_a_training_is_that_of_fit(variables, tmp_path):
    model = keras.Sequential(
        [keras.Input([WIDTH]), LAYERS.Dense(5, name="hidden"), LAYERS.BatchNormalization(momentum=0.9), LAYERS.Dense(1)]
    )
    fitted = keras.models.clone_model(model)
    fitted.set_weights(model.get_weights())
    fitted.compile(keras.optimizers.SGD(0.01), "mse")
    fitted.fit(FEATURES, FEATURES[:, :1], batch_size=BATCH, shuffle=False, verbose=0)

    def model_fn(inputs, mode):
        del mode
        return mox.ModelSpec(loss=tf.reduce_mean((model(inputs[0]) - inputs[0][:, :1]) ** 2))

    result = mox.run(
        input_fn=_input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: keras.optimizers.SGD(0.01),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=BATCH,
        log_dir=tmp_path,
        max_number_of_steps=STEPS,
    )
    found = variables(result.checkpoint)
    assert len(fitted.weights) == 8
    for weight in fitted.weights:
        np.testing.assert_allclose(found[weight.path], weight.numpy(), rtol=1e-4, atol=1e-6, err_msg=weight.path)


RANDOM = {
    "noise": lambda: LAYERS.GaussianNoise(0.5),
    "spatial": lambda: keras.Sequential([LAYERS.Reshape([20, 20]), LAYERS.SpatialDropout1D(0.5)]),
    "flip": lambda: keras.Sequential([LAYERS.Reshape([20, 20, 1]), LAYERS.RandomFlip()]),
    "flip alone": lambda: lambda x, **said: LAYERS.RandomFlip(seed=1)(tf.reshape(x, [-1, 20, 20, 1]), **said),
    "lstm": lambda: keras.Sequential([LAYERS.Reshape([4, 100]), LAYERS.LSTM(3, dropout=0.5)]),
    "cell": lambda: keras.Sequential([LAYERS.Reshape([4, 100]), LAYERS.RNN(LAYERS.GRUCell(3, recurrent_dropout=0.5))]),
    "both ways": lambda: keras.Sequential([LAYERS.Reshape([4, 100]), LAYERS.Bidirectional(LAYERS.GRU(3, dropout=0.5))]),
    "each time": lambda: keras.Sequential([LAYERS.Reshape([4, 100]), LAYERS.TimeDistributed(LAYERS.Dropout(0.5))]),
}


@pytest.mark.parametrize("said", [None, False, True])
def test_random_layers_go_by_the_mode_unless_the_call_says_otherwise(said, tmp_path):
    def body(features, mode):
        del mode
        networks = {name: make() for name, make in RANDOM.items()}
        return {
            name: tf.reduce_max(abs(network(features, training=said) - network(features, training=False)))
            for name, network in networks.items()
        }

    found = {mode: _run(body, tmp_path, mode).metrics for mode in (mox.ModeKeys.TRAIN, mox.ModeKeys.EVAL)}
    for mode, values in found.items():
        differs = (mode == mox.ModeKeys.TRAIN) if said is None else said
        assert {name: value > 1e-3 for name, value in values.items()} == dict.fromkeys(RANDOM, differs), mode


def test_what_the_call_or_the_layer_says_goes_before_the_mode(variables, tmp_path):
    def body(features, mode):
        del mode
        frozen = _sequential("frozen")
        frozen.layers[0].trainable = False
        fixed = _Passing("fixed")
        networks = {
            "frozen": frozen(features),
            "fixed": fixed(features, training=False),
            "always": _Passing("always")(features, training=True),
            "after": _sequential("after")(features),
        }
        decorated = _Decorated("both")
        networks["without"], networks["with"] = decorated(features, training=False), decorated(features)
        return {name: _zeros(value) for name, value in networks.items()}

    trained = _run(body, tmp_path)
    found = variables(trained.checkpoint)
    still = np.zeros(WIDTH)
    moved = _moved(BATCHES)
    for name, mean in {"frozen": still, "fixed": still, "always": moved, "after": moved, "both": moved}.items():
        (path,) = [each for each in found if each.endswith(f"norm_{name}/moving_mean")]
        np.testing.assert_allclose(found[path], mean, rtol=1e-5, err_msg=name)
    evaluated = _run(body, tmp_path, mox.ModeKeys.EVAL).metrics
    assert {name for name, zeros in trained.metrics.items() if zeros} == {"frozen", "always", "after", "with"}
    assert {name for name, zeros in evaluated.items() if zeros} == {"always"}


def test_a_model_that_is_built_while_training_does_not_keep_the_mode(tmp_path):
    made = []

    def body(features, mode):
        del mode
        made[:] = made or [_functional("kept")]
        return {"zeros": _zeros(made[0](features))}

    assert _run(body, tmp_path).metrics["zeros"] > 0.4
    assert _run(body, tmp_path, mox.ModeKeys.EVAL).metrics["zeros"] == 0
    # And after the runs, Keras's own answer to a call without a word: it does not train.
    assert not (made[0](FEATURES).numpy() == 0).any()


def test_a_graph_that_was_traced_outside_is_warned_of_where_it_does_not_train(caplog):
    model = _functional("traced")
    spec = tf.TensorSpec([None, WIDTH])
    traced = {training: tf.function(model).get_concrete_function(spec, training=training) for training in (True, False)}
    fixed = tf.function(lambda x: 2 * x).get_concrete_function(spec)

    def inside(features):
        return tf.function(_sequential("inside")).get_concrete_function(spec)(features)

    def body(network):
        return lambda features, mode: {"zeros": _zeros(network(features))}  # noqa: ARG005

    for network in (traced[True], fixed, inside):
        _run(body(network))
    assert "traced outside" not in caplog.text
    _run(body(traced[False]))
    (warning,) = [record.getMessage() for record in caplog.records if "traced outside" in record.getMessage()]
    assert warning.endswith(
        "dropout and batch normalization in it do what they did there, which is not that of a training, as far as can "
        "be seen. Call the tf.function itself, which is traced anew in each mode, or trace it with training=True."
    )


def test_layers_of_keras_2_go_by_the_mode_too(variables, tmp_path):
    old = pytest.importorskip("tf_keras")

    def parts(name):
        return old.layers.BatchNormalization(name=f"norm_{name}", momentum=0.9), old.layers.Dropout(0.5)

    class Silent(old.Model):
        def __init__(self, name):
            super().__init__(name=name)
            self.norm, self.drop = parts(name)

        def call(self, features):
            return self.drop(self.norm(features))

    def layers(name):
        norm, drop = parts(name)
        return lambda features: drop(norm(features))

    kinds = {
        "sequential": lambda name: old.Sequential([old.Input([WIDTH]), *parts(name)]),
        "deferred": lambda name: old.Sequential([*parts(name)]),
        "silent": Silent,
        "layers": layers,
    }

    def body(features, mode):
        del mode
        drop = tf.compat.v1.layers.Dropout(0.5)  # of TF1, where the call alone says whether it trains
        return {name: _zeros(make(name)(features)) for name, make in kinds.items()} | {"tf1": _zeros(drop(features))}

    trained = _run(body, tmp_path)
    found = variables(trained.checkpoint)
    for name in kinds:
        (path,) = [each for each in found if each.endswith(f"norm_{name}/moving_mean")]
        np.testing.assert_allclose(found[path], _moved(BATCHES), rtol=1e-5, err_msg=name)
    assert {name for name, zeros in trained.metrics.items() if abs(zeros - 0.5) > NOT_BY_CHANCE} == {"tf1"}
    evaluated = _run(body, tmp_path, mox.ModeKeys.EVAL).metrics
    assert evaluated == dict.fromkeys(evaluated, 0.0)
