"""Ready-made Keras models in `model_fn`: their variables, and what moves them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

LAYERS = keras.layers
OF_MOX = {"global_step", "mox/input_positions", "mox/seed"}
RATE = 0.1


def _ready_made(*, dropout=0.0, regularizer=None, prefix=""):
    entry = keras.Input([3])
    net = LAYERS.Dense(4, name=f"{prefix}hidden", kernel_regularizer=regularizer)(entry)
    net = LAYERS.BatchNormalization(name=f"{prefix}norm", momentum=0.9)(net)
    net = LAYERS.Dropout(dropout, name=f"{prefix}drop")(net) if dropout else net
    return keras.Model(entry, LAYERS.Dense(1, name=f"{prefix}head")(net))


NAMES = {
    *(f"{layer}/{name}" for layer in ("hidden", "head") for name in ("kernel", "bias")),
    *(f"norm/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
}


def _model_fn(network, *, losses=lambda: 0.0, **fields):
    def model_fn(inputs, mode):
        features, targets = inputs
        predictions = network(features, training=mode == mox.ModeKeys.TRAIN)[:, 0]
        loss = tf.reduce_mean((predictions - targets) ** 2) + losses()
        export_spec = mox.ExportSpec({"x": features}, {"y": predictions})
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, export_spec=export_spec, **fields)

    return model_fn


@pytest.fixture
def run(regression):
    def run(network, log_dir=None, run_mode=mox.ModeKeys.TRAIN, steps=3, spec=None, **options):
        training = run_mode == mox.ModeKeys.TRAIN
        return mox.run(
            **{
                "input_fn": regression.input_fn,
                "model_fn": _model_fn(network, **(spec or {})),
                "optimizer_fn": regression.sgd,
                "run_mode": run_mode,
                "batch_size": 8,
                "log_dir": log_dir,
                "max_number_of_steps": steps if training else 0,
                **options,
            }
        )

    return run


def _trained_by_hand(model, regression, steps, trained=None):
    """Gradient descent on a copy of the model in eager code of Keras and TensorFlow; its weights by path."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    weights = [each for each in copy.trainable_variables if trained is None or each.path.startswith(trained)]
    for features, targets in regression.batches(steps, 8):
        with tf.GradientTape() as tape:
            predictions = copy(features.astype(np.float32), training=True)[:, 0]
            loss = tf.reduce_mean((predictions - targets.astype(np.float32)) ** 2) + sum(copy.losses)
        gradients = tape.gradient(loss, [each.value for each in weights])
        for variable, gradient in zip(weights, gradients, strict=True):
            variable.assign(variable.value - RATE * gradient)
    return {each.path: each.numpy() for each in copy.weights}


def _by_path(model):
    return {each.path: each.numpy() for each in model.weights}


def _assert_equal(found, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_ready_made_model_is_trained_and_saved_under_the_paths_of_keras(run, regression, variables, tmp_path):
    model = _ready_made(regularizer=keras.regularizers.L2(0.1))
    expected = _trained_by_hand(model, regression, 5)
    before = _by_path(model)
    result = run(model, tmp_path, steps=5, spec={"losses": lambda: tf.add_n(model.losses)})
    found = variables(result.checkpoint)
    assert set(found) == NAMES | OF_MOX
    assert set(expected) == NAMES
    _assert_equal(found, expected)
    _assert_equal(_by_path(model), expected)  # the model itself was trained, not a copy
    _assert_equal(variables(tmp_path / "model.ckpt-0"), before)  # from the weights that it came with


def test_layers_that_keras_does_not_train_stay_as_they_are(run, regression, variables, tmp_path):
    model = _ready_made()
    for layer in model.layers[:-1]:  # a frozen normalization layer of Keras does not move its averages either
        layer.trainable = False
    before, expected = _by_path(model), _trained_by_hand(model, regression, 3, trained="head")
    found = variables(run(model, tmp_path).checkpoint)
    _assert_equal(found, expected)
    for name in NAMES - {"head/kernel", "head/bias"}:
        np.testing.assert_array_equal(found[name], before[name], name)


@pytest.mark.parametrize("late", [False, True])
def test_a_frozen_layer_made_in_model_fn_stays_as_it_is(late, run, variables, tmp_path):
    def network(features, *, training):
        del training
        hidden = LAYERS.Dense(4, name="hidden", trainable=late)
        net = hidden(features)
        hidden.trainable = False
        return LAYERS.Dense(1, name="head")(net)

    found = variables(run(network, tmp_path).checkpoint)
    before = variables(tmp_path / "model.ckpt-0")
    np.testing.assert_array_equal(found["hidden/kernel"], before["hidden/kernel"])
    assert not np.array_equal(found["head/kernel"], before["head/kernel"])


def test_the_state_of_dropout_moves_and_is_saved_under_its_layer(run, variables, tmp_path):
    model = _ready_made(dropout=0.5)
    found = variables(run(model, tmp_path, steps=4).checkpoint)
    assert set(found) == NAMES | {"drop/seed_generator_state"} | OF_MOX
    start = variables(tmp_path / "model.ckpt-0")["drop/seed_generator_state"]
    np.testing.assert_array_equal(found["drop/seed_generator_state"] - start, [0, 4])  # Keras counts its draws


def test_a_checkpoint_restores_into_another_model_of_the_same_names(run, tmp_path):
    trained = run(_ready_made(dropout=0.5), tmp_path, export_model=lambda model, directory: None)  # noqa: ARG005
    other = _ready_made(dropout=0.5)
    before = _by_path(other)
    first = run(other, tmp_path, mox.ModeKeys.EVAL)
    assert first.global_step == trained.global_step == 3
    assert not np.array_equal(before["hidden/kernel"], _by_path(other)["hidden/kernel"])
    assert run(_ready_made(dropout=0.5), tmp_path, mox.ModeKeys.EVAL).metrics == first.metrics


SCRIPT = """
import sys, keras, numpy as np, tensorflow as tf, mox_core as mox
keras.utils.set_random_seed(int(sys.argv[3]))
model = keras.Sequential([keras.Input([3]), keras.layers.Dense(4, activation="relu"), keras.layers.BatchNormalization(),
                          keras.layers.Dropout(0.5), keras.layers.Dense(1)])
features = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)

def input_fn(mode):
    return tf.data.Dataset.from_tensor_slices(features).repeat(None if mode == "TRAIN" else 1)

def model_fn(inputs, mode):
    loss = tf.reduce_mean((model(inputs[0], training=mode == "TRAIN")[:, 0] - inputs[0][:, 0]) ** 2)
    return mox.ModelSpec(loss=loss, log_info={"loss": loss})

run = lambda mode: mox.run(input_fn=input_fn, model_fn=model_fn, optimizer_fn=lambda: keras.optimizers.Adam(0.01),
    run_mode=mode, batch_size=8, log_dir=sys.argv[1], max_number_of_steps=6 if mode == "TRAIN" else 0)
if sys.argv[2] == "TRAIN":
    run("TRAIN")
print(run("EVAL").metrics["loss"])
"""


@pytest.mark.slow
def test_the_same_script_finds_its_weights_in_another_process(run_python, tmp_path):
    told = [run_python(SCRIPT, tmp_path, mode, seed).stdout for mode, seed in (("TRAIN", 1), ("EVAL", 2))]
    assert told[0] == told[1]
    assert float(told[0]) > 0


def test_another_run_goes_on_with_the_weights_that_the_model_has(run, regression):
    model = _ready_made()
    expected = _trained_by_hand(model, regression, 3)
    run(model)
    _assert_equal(_by_path(model), expected)
    expected = _trained_by_hand(model, regression, 2)
    run(model, steps=2)
    _assert_equal(_by_path(model), expected)


class Net(keras.Model):
    """Its variables do not exist before it is called."""

    def __init__(self):
        super().__init__(name="net")
        self.first, self.drop = LAYERS.Dense(4, name="first"), LAYERS.Dropout(0.5, name="drop")
        self.cell, self.last = LAYERS.LSTM(2, name="lstm"), LAYERS.Dense(1, name="last")

    def call(self, features, *, training):
        return self.last(self.drop(self.cell(self.first(features)[:, tf.newaxis]), training=training))


def _momentum():
    return tf.compat.v1.train.MomentumOptimizer(RATE, 0.9)


@pytest.mark.parametrize("scope", ["", "outer"])
def test_a_model_built_in_one_run_has_the_same_names_in_the_next(scope, run, variables, tmp_path):
    net = Net()

    def network(features, *, training):
        with tf.compat.v1.variable_scope(scope):
            return net(features, training=training)

    first = run(network, tmp_path / "first", optimizer_fn=_momentum)
    second = run(network, tmp_path / "second", optimizer_fn=_momentum)
    names = set(variables(first.checkpoint))
    assert set(variables(second.checkpoint)) == names
    start = f"{scope}/" if scope else ""
    assert {f"{start}net/first/kernel/Momentum", f"{start}net/lstm/lstm_cell/kernel/Momentum"} < names
    # What the first run trained is what the second began with.
    begin, end = variables(tmp_path / "second" / "model.ckpt-0"), variables(first.checkpoint)
    np.testing.assert_array_equal(begin[f"{start}net/last/kernel"], end[f"{start}net/last/kernel"])


def test_a_subclassed_model_built_before_has_the_paths_of_keras(run, variables, tmp_path):
    net = Net()
    net(np.zeros([1, 3], np.float32), training=False)
    found = variables(run(net, tmp_path, optimizer_fn=_momentum).checkpoint)
    trained = {
        *(f"net/{layer}/{name}" for layer in ("first", "last") for name in ("kernel", "bias")),
        *(f"net/lstm/lstm_cell/{name}" for name in ("kernel", "recurrent_kernel", "bias")),
    }
    without_state = {name for name in found if not name.endswith("seed_generator_state")}
    assert without_state == trained | {f"{name}/Momentum" for name in trained} | OF_MOX
    assert {each.path for each in net.trainable_variables} == trained


def test_var_scopes_are_the_first_parts_of_the_paths(run, regression, variables, tmp_path):
    model = _ready_made()
    expected = _trained_by_hand(model, regression, 3, trained="head/")
    _assert_equal(variables(run(model, tmp_path, spec={"var_scopes": ["head"]}).checkpoint), expected)


def test_an_export_holds_the_variables_of_a_ready_made_model(run, tmp_path):
    model = _ready_made()
    features = np.float32([[1.0, -2.0, 0.5], [0.0, 1.0, 2.0]])
    exported = {}

    def exporter(exporting, directory):
        del directory
        exported.update(names={each.name.removesuffix(":0") for each in exporting.variables})
        exported.update(y=exporting.function(x=tf.constant(features))["y"].numpy())

    run(model, tmp_path, export_model=exporter)
    assert exported["names"] == NAMES
    np.testing.assert_allclose(exported["y"], model.predict(features, verbose=0)[:, 0], rtol=1e-5)


def _sum(*models):
    return lambda features, *, training: sum(model(features, training=training) for model in models)


def _twice_from_json(model):
    return _sum(*(keras.models.model_from_json(model.to_json()) for _ in range(2)))


SAME_NAME = (
    r"^model_fn uses two variables 'h[a-z]+/(bias|kernel)', and a variable is saved and shared by its name\. "
    r"Give Keras layers names of their own, as in keras\.layers\.Dense\(\.\.\., name='head'\), a network a scope, as "
    r"in mox\.get_model_fn\(\.\.\., name_scope='teacher'\), or make one model under "
    r"keras\.name_scope\('first'\) outside of model_fn, under tf\.compat\.v1\.variable_scope\('first'\) inside\.$"
)


@pytest.mark.parametrize(
    "network",
    [
        lambda: _sum(_ready_made(), _ready_made()),
        lambda: _sum(_ready_made(), lambda features, training: LAYERS.Dense(1, name="head")(features)),  # noqa: ARG005
        lambda: lambda features, training: _sum(_ready_made(), _ready_made())(features, training=training),
        lambda: lambda features, training: _twice_from_json(_ready_made())(features, training=training),
    ],
    ids=["both made outside", "one made outside", "both made inside", "both from one JSON"],
)
def test_two_layers_of_one_name_are_refused(network, run):
    with pytest.raises(mox.UsageError, match=SAME_NAME):
        run(network())


def test_two_models_of_one_kind_are_told_apart_by_scopes(run, variables, tmp_path):
    with keras.name_scope("first"):
        first = _ready_made(dropout=0.5)
    second = _ready_made()

    def network(features, *, training):
        with tf.compat.v1.variable_scope("third"):
            third = _ready_made()
        return _sum(first, second, third)(features, training=training)

    names = set(variables(run(network, tmp_path).checkpoint)) - OF_MOX
    assert {name for name in names if not name.endswith("state")} == {
        prefix + name for prefix in ("first/", "", "third/") for name in NAMES
    }


def test_a_plain_variable_from_outside_is_refused_by_name(run):
    scale = tf.Variable(1.0, name="scale")
    with pytest.raises(mox.UsageError) as refusal:
        run(lambda features, training: scale * _ready_made()(features, training=training))
    assert str(refusal.value) == (
        "model_fn uses variables that were made outside of it and belong to no Keras 3 layer (scale:0): "
        "this run would neither train nor save them. Make them inside model_fn: modes and runs share them by name. "
        "What is meant to stay as it is goes through tf.stop_gradient(...)."
    )


def test_a_model_that_was_made_under_a_strategy_is_refused_by_name(run):
    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        model = _ready_made()
    with pytest.raises(mox.UsageError) as refusal:
        run(model)
    assert str(refusal.value) == (
        "model_fn uses a Keras model that was made under a strategy of tf.distribute (head/bias, for one): make it "
        "outside of strategy.scope(). --num_gpus=2 puts a model that is made in model_fn on two devices."
    )


def test_a_network_behind_stop_gradient_stays_as_it_is_and_is_saved(run, variables, tmp_path):
    outside, scale = _ready_made(), tf.Variable(0.5, trainable=False)
    before = _by_path(outside)

    def network(features, *, training):
        del training
        return tf.stop_gradient(outside(features, training=False)) + scale * LAYERS.Dense(1, name="last")(features)

    found = variables(run(network, tmp_path).checkpoint)
    assert set(found) == NAMES | {"last/kernel", "last/bias"} | OF_MOX
    for name, value in before.items():
        np.testing.assert_array_equal(found[name], value)


def test_a_layer_from_outside_may_be_built_before_or_in_an_earlier_run(run, variables, tmp_path):
    layer = LAYERS.Dense(1, name="outer")
    for number in range(2):
        found = variables(run(lambda features, training: layer(features), tmp_path / str(number)).checkpoint)  # noqa: ARG005
        assert set(found) == {"outer/kernel", "outer/bias"} | OF_MOX


def test_a_loss_that_a_layer_adds_is_that_of_this_trace(run, regression):
    entry = keras.Input([3])
    net = LAYERS.Dense(1, name="head", kernel_initializer="ones", activity_regularizer=keras.regularizers.L2(0.25))
    model = keras.Model(entry, net(entry))
    features, targets = next(iter(regression.batches(1, 8)))
    output = features.sum(axis=1)
    model(features.astype(np.float32))
    added = float(sum(model.losses))  # Keras itself, outside of any run: its versions divide by the batch or do not
    expected = np.mean((output - targets) ** 2) + added
    for _ in range(2):
        result = run(
            model,
            steps=1,
            spec={"losses": lambda: tf.add_n(model.losses)},
            optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.0),
        )
        assert result.metrics["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
def test_a_model_of_keras_applications_is_trained(run, variables, tmp_path):
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=2)

    def network(features, *, training):
        images = tf.ones([1, 32, 32, 1]) * features[:2, tf.newaxis, tf.newaxis, :]
        return tf.repeat(model(images, training=training)[:, :1], 4, axis=0)

    begin = _by_path(model)
    found = variables(run(network, tmp_path, steps=1).checkpoint)
    assert set(found) == {each.path for each in model.weights} | OF_MOX
    assert len(model.weights) == 262
    moved = [name for name, value in begin.items() if not np.array_equal(found[name], value)]
    assert {"Conv1/kernel", "bn_Conv1/gamma", "bn_Conv1/moving_mean", "predictions/kernel"} < set(moved)


def test_a_model_made_only_for_its_json_leaves_no_trace_in_any_mode(run, variables, tmp_path):
    def network(features, *, training):
        saved = _ready_made(dropout=0.5).to_json()
        return keras.models.model_from_json(saved)(features, training=training)

    exported = set()

    def exporter(model, directory):
        del directory
        exported.update(each.name.removesuffix(":0") for each in model.variables)

    result = run(network, tmp_path, export_model=exporter, optimizer_fn=_momentum)
    found = variables(result.checkpoint)
    slots = {f"{name}/Momentum" for name in NAMES if "moving" not in name}
    states = {name for name in found if name.endswith("seed_generator_state")}
    assert set(found) == NAMES | slots | states | OF_MOX
    assert len(states) == 1
    assert exported == NAMES
    before = variables(tmp_path / "model.ckpt-0")
    assert not np.array_equal(before["hidden/kernel"], found["hidden/kernel"])
    evaluated = run(network, tmp_path, mox.ModeKeys.EVAL)
    assert run(_ready_made(dropout=0.5), tmp_path, mox.ModeKeys.EVAL).metrics == evaluated.metrics


def test_a_keras_model_in_the_place_of_model_fn_is_told_what_to_write(regression):
    model = keras.Sequential([keras.layers.Dense(1)], name="net")
    with pytest.raises(mox.UsageError, match=r"model_fn is a Keras model, <Sequential.*def model_fn\("):
        mox.run(regression.input_fn, model_fn=model, optimizer_fn=regression.sgd, run_mode="TRAIN", batch_size=4)


def test_a_notebook_cell_that_is_run_again_is_told_why_names_differ(regression, tmp_path):
    def cell():
        net = keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(1)])

        def model_fn(inputs, mode):
            del mode
            return mox.ModelSpec(loss=tf.reduce_mean((net(inputs[0])[:, 0] - inputs[1]) ** 2))

        mox.run(
            input_fn=regression.input_fn,
            model_fn=model_fn,
            optimizer_fn=regression.sgd,
            run_mode="TRAIN",
            batch_size=4,
            max_number_of_steps=1,
            log_dir=tmp_path,
        )

    cell()
    with pytest.raises(mox.CheckpointError, match=r"4 variables of the model are .* under names with other numbers"):
        cell()
