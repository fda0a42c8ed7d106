"""What mox relies on inside Keras, one test for each name: a new release of Keras tells here what it has changed."""

import importlib
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from mox_core.engine.tf_internals import keras_batch_norm, keras_names, keras_owners, keras_training

LAYERS = keras.layers


@pytest.fixture
def made():
    """What mox takes the variables for that Keras makes in a function."""

    def call(function):
        asked = []

        def create(next_creator, **kwargs):
            asked.append(keras_owners.new_variable())
            return next_creator(**kwargs)

        with keras_owners.watch(), tf.variable_creator_scope(create):
            function()
        return asked

    return call


def _global_state():
    name = "keras.src.backend.common.global_state"
    assert name in sys.modules, f"Keras moved {name}: tf_internals/keras_names.py finds its counters and scopes there"
    return sys.modules[name]


def _late():
    """A function that makes a layer with its weights, and a metric, where Keras puts off making variables."""
    found = {}

    def function():
        with keras.StatelessScope():
            layer = found["layer"] = LAYERS.Layer(name="late")
            layer.add_weight(shape=(), name="weight")
            found["metric"] = keras.metrics.Sum(name="late_sum")

    return function, found


def test_variable_initialize_asks_tensorflow_for_a_variable(made):
    renamed = (
        "Keras renamed Variable._initialize: tf_internals/keras_owners.py wraps it to know which variable Keras "
        "makes, at once or later"
    )
    assert hasattr(keras.Variable, "_initialize"), renamed
    function, _ = _late()
    for make, paths in ((lambda: keras.Variable(1.0, name="x"), ["x"]), (function, ["late/weight", "late_sum/total"])):
        assert [each and each.path for each in made(make)] == paths, renamed


def test_variable_value_attribute_holds_that_of_tensorflow():
    variable = keras.Variable(1.0, name="x")
    assert getattr(variable, "_value", None) is variable.value, (
        "Keras renamed Variable._value: tf_internals/keras_owners.py finds TensorFlow's variable there, "
        "as Variable.value may be a cast of it"
    )


def test_every_weight_of_a_layer_goes_through_add_weight(made):
    assert hasattr(LAYERS.Layer, "add_weight"), "Keras renamed Layer.add_weight: see tf_internals/keras_owners.py"
    layer = LAYERS.Dense(2, name="dense")
    found = made(lambda: layer.build([None, 3]))
    assert [(each.path, each.layer, each.metric) for each in found] == [
        ("dense/kernel", layer, None),
        ("dense/bias", layer, None),
    ], "Keras changed Layer.add_weight: tf_internals/keras_owners.py wraps it to know whose variable is made"


def test_every_state_of_a_metric_goes_through_add_variable(made):
    renamed = "Keras renamed Metric.add_variable: see tf_internals/keras_owners.py"
    assert hasattr(keras.metrics.Metric, "add_variable"), renamed
    function, late = _late()
    found = made(lambda: keras.metrics.Mean(name="mean")) + made(function)
    told = [(each.path, each.metric is not None, each.layer) for each in found]
    assert told == [
        ("mean/total", True, None),
        ("mean/count", True, None),
        ("late/weight", False, None),
        ("late_sum/total", True, None),
    ], "Keras changed Metric.add_variable: tf_internals/keras_owners.py tells by it metric state from weights"
    assert found[-1].metric is late["metric"]


def test_layers_are_counted_in_the_global_state():
    LAYERS.Dense(1)
    with keras_names.fresh_layer_names():
        names = [LAYERS.Dense(1).name, LAYERS.Dense(1).name]
        counters = dict(_global_state().get_global_attribute("object_name_uids") or {})
    assert (names, counters) == (["dense", "dense_1"], {"dense": 2}), (
        "Keras renamed object_name_uids: tf_internals/keras_names.py begins the counts of layers there anew"
    )


def test_no_name_of_a_reserving_block_comes_again():
    with keras_names.fresh_layer_names():
        assert [LAYERS.Dense(1).name, LAYERS.Conv2D(1, 1).name] == ["dense", "conv2d"]
        with keras_names.fresh_layer_names(reserve=True):
            assert [LAYERS.Dense(1).name for _ in range(3)] == ["dense", "dense_1", "dense_2"]
            assert LAYERS.ReLU().name == "re_lu"
        later = [LAYERS.Dense(1).name, LAYERS.Conv2D(1, 1).name, LAYERS.ReLU().name]
    assert later == ["dense_3", "conv2d_1", "re_lu_1"]


def test_open_name_scopes_are_in_the_global_state():
    changed = (
        "Keras renamed name_scope_stack, or name, caller or override_parent of its entries: "
        "tf_internals/keras_names.py reads paths there, and tf_internals/keras_owners.py the layer that is being built"
    )

    class Seen(LAYERS.Layer):
        def build(self, shape):
            del shape
            with keras.name_scope("inner"):
                seen.extend((keras_names.current_path(), scope.caller) for scope in keras_names.scopes())

    seen = []
    with keras.name_scope("outer"):
        (entry,) = keras_names.scopes() or (None,)
        assert all(hasattr(entry, name) for name in ("name", "caller", "override_parent")), changed
        layer = Seen(name="layer")
        layer.build([1])
    assert seen == [("outer/layer/inner", caller) for caller in (None, layer, None)], changed
    assert not keras_names.scopes()


def test_the_parent_of_a_layer_overrides_the_scopes_that_are_open():
    with keras.name_scope("outer"):
        layer = LAYERS.Dense(1, name="layer")
        layer(keras.Input([3]))
    seen = []
    layer.call = lambda inputs: seen.append(keras_names.current_path()) or inputs
    with keras.name_scope("other"):
        layer(tf.zeros([1, 3]))
    assert seen == ["outer/layer"], "Keras changed override_parent of its name scopes: see tf_internals/keras_names.py"


def test_seed_generators_are_attributes_of_their_layers_and_have_a_state():
    layer = LAYERS.Dropout(0.5, name="drop")
    generators = [each for each in vars(layer).values() if isinstance(each, keras.random.SeedGenerator)]
    assert [each.state.name for each in generators] == ["seed_generator_state"], (
        "Keras changed SeedGenerator.state, or where a layer keeps its generator: "
        "tf_internals/keras_owners.py names the state by the layer"
    )
    state = generators[0].state
    assert keras_owners.survey().paths[id(state.value)] == "drop/seed_generator_state"


def test_the_outermost_call_of_a_layer_is_told_training_and_keras_tells_the_layers_inside():
    changed = "Keras changed Layer.__call__, or how it passes `training` on: see tf_internals/keras_training.py"
    original, seen = LAYERS.Layer.__call__, []

    class Noting(LAYERS.Layer):
        def call(self, inputs, training=None):
            if tf.executing_eagerly() and tf.is_tensor(inputs):  # not when Keras only builds it
                seen.append(training)
            return inputs

    class Silent(LAYERS.Layer):
        def __init__(self):
            super().__init__()
            self.inner = Noting()

        def call(self, inputs):
            return self.inner(inputs)

    with keras_training.watch(), keras_training.training_is(True):
        Silent()(tf.zeros([1]))
        Noting()(tf.zeros([1]), training=False)
        model = keras.Sequential([keras.Input([1]), Noting()])
    assert seen == [True, False], changed
    assert LAYERS.Layer.__call__ is original
    model(tf.zeros([1, 1]))
    assert seen == [True, False, None], changed


def test_the_call_of_a_batch_normalization_comes_when_it_is_built():
    import tf_keras

    changed = "Keras changed BatchNormalization.call: see tf_internals/keras_batch_norm.py"
    seen = []

    def is_frozen(parameters, averages):
        seen.append((parameters, averages))
        return True

    ones, moved = tf.ones([2, 3]) * [[1.0], [3.0]], []
    with keras_batch_norm.watch(), keras_batch_norm.frozen(is_frozen):
        for keras_ in (keras, tf_keras):
            layer = keras_.layers.BatchNormalization(name="norm", epsilon=0.0)
            np.testing.assert_allclose(layer(ones, training=True), ones, err_msg=changed)
            moved.append(np.any(layer.moving_mean))
    names = ["norm/gamma", "norm/beta"], ["norm/moving_mean", "norm/moving_variance"]
    assert (seen, moved) == ([names, names], [False, False]), changed
    assert abs(LAYERS.BatchNormalization()(ones, training=True).numpy()[0, 0]) < 1.1, changed


def test_keras_2_makes_layers_of_tf2_in_model_fn_and_those_of_tf1_as_ever():
    from mox_core.engine.tf_internals import keras_two

    old = pytest.importorskip("tf_keras")
    base = importlib.import_module("tf_keras.src.engine.base_layer_v1").Layer
    legacy = importlib.import_module("tf_keras.api._v1.keras.__internal__.legacy.layers")
    changed = "tf_keras tells graphs of TF1 in another way: see tf_internals/keras_two.py"

    class Own(old.layers.Layer):
        pass

    def body():
        made = [Own(), old.Sequential()]
        name = tf.compat.v1.get_default_graph().name
        return [isinstance(each, base) for each in made], name, keras_two.is_of_tf1(type(legacy.Dense(1)))

    def trace():
        found = []
        tf.compat.v1.wrap_function(lambda: found.extend(body()) or tf.constant(0), [])
        return found

    with keras_two.watch():
        assert trace() == [[False, False], "wrapped_function", True], changed
    assert trace()[0] == [True, True], changed
    assert not keras_two.is_of_tf1(old.layers.Dense)
