"""Whose variable it is that Keras makes: hard cases, in model_fn and before it; what mox changes in Keras meanwhile."""

import gc
import os
import subprocess

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.engine.tf_internals import keras_owners

LAYERS = keras.layers
OF_MOX = {"global_step", "mox/input_positions", "mox/seed"}
METHODS = (
    (keras.Variable, "_initialize"),
    (LAYERS.Layer, "add_weight"),
    (keras.metrics.Metric, "add_variable"),
)


@pytest.fixture
def trained(regression, variables, tmp_path):
    """Trains a network, and returns what its variables were and are, without those of mox."""

    def train(network):
        def model_fn(inputs, mode):
            features, targets = inputs
            outputs = network(features, mode == mox.ModeKeys.TRAIN)
            loss = tf.reduce_mean((tf.reduce_sum(outputs, axis=1) - targets) ** 2)
            return mox.ModelSpec(loss=loss, log_info={"loss": loss})

        mox.run(
            input_fn=regression.input_fn,
            model_fn=model_fn,
            optimizer_fn=regression.sgd,
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=8,
            log_dir=tmp_path,
            max_number_of_steps=2,
        )
        before, after = variables(tmp_path / "model.ckpt-0"), variables(tmp_path / "model.ckpt-2")
        return {name: (before[name], after[name]) for name in after.keys() - OF_MOX}

    return train


class Scale(LAYERS.Layer):
    """Its constructor makes a variable for which it does not ask by `add_weight`."""

    def __init__(self, **options):
        super().__init__(**options)
        self.scale = keras.Variable(1.0, name="scale")

    def call(self, inputs):
        return inputs * self.scale


class Counting(LAYERS.Layer):
    """Its constructor makes a metric."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen = keras.metrics.Mean(name="seen")

    def call(self, inputs):
        self.seen.update_state(inputs)
        return inputs


class Pair(keras.Model):
    """Two layers of one name, which Keras builds when the model is called."""

    def __init__(self):
        super().__init__(name="pair")
        self.first, self.second = LAYERS.Dense(3, name="same"), LAYERS.Dense(1, name="same")

    def call(self, inputs):
        return self.second(self.first(inputs))


class Frozen(LAYERS.Layer):
    """Is not trained, and holds a layer that does not know it."""

    def __init__(self, inner):
        super().__init__(trainable=False)
        self.inner = inner

    def encode(self, inputs):
        return self.inner(inputs)


def _functional(*layers):
    entry = keras.Input([3])
    net = entry
    for layer in layers:
        net = layer(net)
    return keras.Model(entry, net)


def _is_fixed(values):
    return np.array_equal(*values)


def test_a_variable_of_a_constructor_is_shared_with_the_model_from_json(trained):
    def network(features, training):
        saved = _functional(Scale(name="scaling"), LAYERS.Dense(1, name="head")).to_json()
        model = keras.models.model_from_json(saved, custom_objects={"Scale": Scale})
        return model(features, training=training)

    found = trained(network)
    assert set(found) == {"scale", "head/kernel", "head/bias"}
    assert not _is_fixed(found["scale"])


@pytest.mark.parametrize(("kind", "name"), [(Scale, "scale")])
def test_two_constructors_that_make_a_variable_of_one_name_are_refused(kind, name, trained):
    with pytest.raises(mox.UsageError, match=f"^model_fn uses two variables '{name}', and a variable is saved and"):
        trained(lambda features, _: _functional(kind(name="a"), kind(name="b"), LAYERS.Dense(1))(features))


def test_plain_variables_of_one_name_are_numbered(trained):
    def network(features, training):
        del training
        first, second = keras.Variable(1.0, name="scale"), keras.Variable(2.0, name="scale")
        return features * first * second

    assert {name: before for name, (before, _) in trained(network).items()} == {"scale": 1.0, "scale_1": 2.0}


def test_layers_of_one_name_in_a_model_that_is_built_when_called_are_numbered(trained):
    found = trained(lambda features, _: Pair()(features))
    shapes = {name: before.shape for name, (before, _) in found.items()}
    assert shapes == {
        "pair/same/kernel": (3, 3),
        "pair/same/bias": (3,),
        "pair/same/kernel_1": (3, 1),
        "pair/same/bias_1": (1,),
    }


@pytest.mark.parametrize("inside", [False, True])
def test_a_frozen_layer_is_heeded_where_only_a_method_of_its_own_is_called(inside, trained):
    def make():
        return Frozen(LAYERS.Dense(3, name="frozen"))

    outside = make()

    def network(features, training):
        del training
        encoder = make() if inside else outside
        return LAYERS.Dense(1, name="head")(encoder.encode(features))

    found = trained(network)
    assert {name for name, values in found.items() if _is_fixed(values)} == {"frozen/kernel", "frozen/bias"}


def test_a_variable_of_tensorflow_that_was_taken_out_of_a_layer_has_its_path(trained):
    layer = LAYERS.Dense(1, name="head")
    layer.build([None, 3])
    kernel = layer.kernel.value
    assert set(trained(lambda features, _: tf.matmul(features, kernel))) == {"head/kernel"}


def test_a_seed_generator_is_named_by_a_layer_that_holds_it(trained):
    class Noise(LAYERS.Layer):
        def __init__(self, generator, name):
            super().__init__(name=name)
            self.generator = generator

    shared = keras.random.SeedGenerator(1)
    holders = [Noise(shared, "second"), Noise(shared, "first")]
    found = trained(lambda features, _: LAYERS.Dense(1, name="head")(features + keras.random.normal([1], seed=shared)))
    assert len(holders) == 2
    assert set(found) == {"first/seed_generator_state", "head/kernel", "head/bias"}


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # Keras saves by an old interface of NumPy
def test_a_model_from_a_file_has_the_names_of_the_one_that_was_saved(trained, tmp_path):
    with keras.name_scope("scope"):
        inner = _functional(LAYERS.Dense(4, name="hidden"), LAYERS.Dropout(0.5, name="drop"))
        model = _functional(inner, LAYERS.Dense(1, name="head"))
    names = {f"{layer}/{name}" for layer in ("hidden", "head") for name in ("kernel", "bias")}
    assert {each.path for each in model.weights} == {f"scope/{name}" for name in names}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    del model, inner
    gc.collect()
    found = trained(lambda features, training: loaded(features, training=training))
    assert set(found) == {*names, "drop/seed_generator_state"}


def test_tf_keras_is_not_taken_for_keras(trained):
    layers = pytest.importorskip("tf_keras").layers
    found = trained(lambda features, _: layers.Dense(1, name="head")(features))
    assert set(found) == {"head/kernel", "head/bias"}
    outside = layers.Dense(1, name="head")
    outside.build([None, 3])
    with pytest.raises(mox.UsageError, match="belong to no Keras 3 layer"):
        trained(lambda features, _: outside(features) + LAYERS.Dense(1)(features))


def test_a_survey_tells_the_state_of_metrics_from_weights():
    metric = keras.metrics.MeanIoU(2, name="overlap")
    layer, holder = LAYERS.Dense(1), Counting()
    layer.build([None, 3])
    found = keras_owners.survey().of_metrics
    assert {id(each.value) for each in (*metric.variables, *holder.seen.variables)} <= found
    assert not {id(each.value) for each in layer.variables} & found


def test_keras_is_as_before_when_a_trace_has_ended(trained):
    def methods():
        return [(getattr(kind, name), name in vars(kind)) for kind, name in METHODS]

    during = []

    def network(features, training):
        del training
        during.extend(methods())
        return LAYERS.Dense(1)(features)

    def broken(features, training):
        network(features, training)
        raise ZeroDivisionError

    before = methods()
    trained(network)
    assert not set(before) & set(during)
    assert methods() == before
    with pytest.raises(ZeroDivisionError):
        trained(broken)
    assert methods() == before
    assert keras_owners.new_variable() is None


IMPORTED_LATE = """
import sys, tensorflow as tf, mox_core as mox

def input_fn(mode):
    return tf.data.Dataset.from_tensors([1.0, 2.0, 3.0]).repeat()

def model_fn(inputs, mode):
    print("keras" in sys.modules)
    import keras
    hidden = keras.layers.Dense(4, name="hidden", trainable=False)(inputs[0])
    loss = tf.reduce_sum(keras.layers.Dense(1, name="head")(hidden))
    return mox.ModelSpec(loss=loss)

mox.run(input_fn=input_fn, model_fn=model_fn, optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode="TRAIN", batch_size=1, log_dir=sys.argv[1], max_number_of_steps=1)
import keras
print(any("mox" in type(finder).__module__ for finder in sys.meta_path))
print(hasattr(keras.layers.Layer.add_weight, "__wrapped__"))
print(*sorted(name for name, _ in tf.train.list_variables(sys.argv[1])))
"""


@pytest.mark.slow
def test_keras_may_be_imported_by_model_fn(run_python, tmp_path):
    pytest.importorskip("tf_keras")  # which TensorFlow then imports instead
    environ = {**os.environ, "TF_USE_LEGACY_KERAS": "1"}
    told = run_python(IMPORTED_LATE, tmp_path, timeout=120, env=environ, start=subprocess.run)  # without Keras
    names = sorted({"hidden/kernel", "hidden/bias", "head/kernel", "head/bias"} | OF_MOX)
    assert told.stdout.splitlines() == ["False", "False", "False", " ".join(names)]


REPLICAS = """
import sys, mox_core as mox
devices = int(sys.argv[2])
mox.set_flag("num_gpus", devices)
mox.set_flag("clone_on_cpu", True)
import keras, tensorflow as tf
LAYERS = keras.layers

class Net(keras.Model):
    def __init__(self):
        super().__init__(name="net")
        self.first, self.drop = LAYERS.Dense(4, name="same"), LAYERS.Dropout(0.5)
        self.second = LAYERS.Dense(1, name="same")

    def call(self, inputs, training=None):
        return self.second(self.drop(self.first(inputs), training=training))

def input_fn(mode):
    return tf.data.Dataset.from_tensors([1.0, 2.0, 3.0]).repeat()

def model_fn(inputs, mode):
    entry = keras.Input([3])
    model = keras.Model(entry, LAYERS.Dense(1, name="head")(LAYERS.BatchNormalization(name="norm")(entry)))
    mean = keras.metrics.Mean(name="mean")
    mean.update_state(inputs[0])
    loss = tf.reduce_mean(model(inputs[0], training=True) + Net()(inputs[0], training=True))
    return mox.ModelSpec(loss=loss, log_info={"mean": mean.result()})

mox.run(input_fn=input_fn, model_fn=model_fn, optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.1),
        run_mode="TRAIN", batch_size=2, log_dir=sys.argv[1], max_number_of_steps=2)
print(*sorted(f"{name}{shape}" for name, shape in tf.train.list_variables(sys.argv[1])), sep="\\n")
"""


@pytest.mark.slow
def test_variables_of_keras_have_the_same_names_on_several_devices(run_python, tmp_path):
    one, two = (
        run_python(REPLICAS, tmp_path / str(devices), devices, timeout=120).stdout.splitlines() for devices in (1, 2)
    )
    names = {line.partition("[")[0] for line in one}
    assert {"net/same/kernel", "net/same/kernel_1", "head/kernel", "norm/moving_mean"} < names
    assert "mean/total" not in names  # the state of a metric
    assert two == one
