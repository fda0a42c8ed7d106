"""What a run replaces in TensorFlow: what TF1-style code finds there while it lasts, and that it is undone after it."""

import contextlib
import importlib
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import forked
import mox_core as mox


def _train(model_fn, **options):
    return mox.run(
        input_fn=lambda mode: tf.constant([1.0, 3.0]),  # noqa: ARG005
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.0),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=4,
        **options,
    )


def _slims_places():
    """What slim finds at the old places of TensorFlow and tf_keras, None where there is nothing."""
    return [
        sys.modules.get("tf_keras.legacy_tf_layers"),
        sys.modules.get("tf_keras.legacy_tf_layers.normalization"),
        vars(importlib.import_module("tf_keras")).get("legacy_tf_layers"),
        vars(importlib.import_module("tensorflow.python.framework.ops")).get("Tensor"),
    ]


@pytest.mark.parametrize("run", ["first", "second"])
def test_the_batch_norm_of_tf_slim_works_and_moves_its_averages(run, tmp_path):
    del run  # in one process
    import tf_slim

    seen = []

    def model_fn(inputs, mode):
        net = tf_slim.batch_norm(inputs[0], is_training=mode == mox.ModeKeys.TRAIN, decay=0.9)
        seen.extend(_slims_places())
        return mox.ModelSpec(loss=tf.reduce_sum(net))

    before = _slims_places()
    result = _train(model_fn, log_dir=tmp_path, max_number_of_steps=3)
    assert _slims_places() == before
    assert None not in seen, "tf_slim.batch_norm needs these: see mox_core/engine/tf_patches/tf1_layers.py"
    mean = tf.train.load_checkpoint(result.checkpoint).get_tensor("BatchNorm/moving_mean")
    np.testing.assert_allclose(mean, (1 - 0.9**3) * np.array([1.0, 3.0]), rtol=1e-5)


def test_what_slim_has_loaded_in_a_run_is_the_module_of_tf_keras():
    import tf_slim  # noqa: F401
    from tensorflow.python.layers import normalization

    seen = []

    def model_fn(inputs, mode):  # noqa: ARG001
        seen.append(normalization.BatchNormalization)
        return mox.ModelSpec(loss=tf.compat.v1.get_variable("w", []))

    _train(model_fn, max_number_of_steps=1)
    module = importlib.import_module("tf_keras.src.legacy_tf_layers.normalization")
    assert seen == [module.BatchNormalization], (
        "TensorFlow or tf_keras moved legacy_tf_layers: see slim_layers in mox_core/engine/tf_patches/tf1_layers.py"
    )
    assert importlib.import_module("tf_keras.src.legacy_tf_layers").normalization is module


def test_tensors_are_keys_of_a_dict_in_a_run_and_compare_elementwise_as_ever():
    seen = {}

    def model_fn(inputs, mode):  # noqa: ARG001
        images = inputs[0]
        seen["value"] = {images: 1, images + 1: 2}[images]
        seen["equal"] = images == 1.0
        weight = tf.compat.v1.get_variable("weight", [])
        return mox.ModelSpec(loss=weight, log_info={"ones": tf.reduce_sum(tf.cast(seen["equal"], tf.float32))})

    result = _train(model_fn, max_number_of_steps=1)
    assert seen["value"] == 1
    assert result.metrics["ones"] == 4  # four samples of [1, 3]
    with pytest.raises(TypeError, match="unhashable"):
        hash(tf.constant(1.0))


def test_the_layers_of_tf1_work_in_model_fn_with_their_names_and_updates(tmp_path):
    def model_fn(inputs, mode):
        layers = tf.compat.v1.layers
        net = layers.batch_normalization(inputs[0], momentum=0.9, training=mode == mox.ModeKeys.TRAIN)
        with tf.compat.v1.variable_scope("head"):
            net = layers.dense(net, 1) + layers.Dense(1)(net)
        still = layers.batch_normalization(inputs[0], name="still")  # not told to train: TF1 takes that for no
        return mox.ModelSpec(loss=tf.reduce_sum(net) + tf.reduce_sum(still))

    result = _train(model_fn, log_dir=tmp_path, max_number_of_steps=3)
    saved = tf.train.load_checkpoint(result.checkpoint)
    assert {name for name in saved.get_variable_to_shape_map() if "/" in name and not name.startswith("mox/")} == {
        *(
            f"{layer}/{name}"
            for layer in ("batch_normalization", "still")
            for name in ("beta", "gamma", "moving_mean", "moving_variance")
        ),
        *(f"head/{layer}/{name}" for layer in ("dense", "dense_1") for name in ("kernel", "bias")),
    }
    np.testing.assert_array_equal(saved.get_tensor("still/moving_mean"), [0.0, 0.0])
    mean = saved.get_tensor("batch_normalization/moving_mean")
    np.testing.assert_allclose(mean, (1 - 0.9**3) * np.array([1.0, 3.0]), rtol=1e-5)


MODULES_OF_TF1 = """
import sys
import tensorflow as tf
{}
import mox_core as mox

def model_fn(inputs, mode):
    return mox.ModelSpec(loss=tf.reduce_mean({}dense(inputs[0], 1, name="d") ** 2))

def input_fn(mode):
    return tf.ones([3])

options = dict(optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.1), run_mode=mox.ModeKeys.TRAIN, batch_size=2)
for end in 1, 2:
    mox.run(input_fn=input_fn, model_fn=model_fn, max_number_of_steps=end, **options)
    import tensorflow.compat.v1  # another module object, in the place of the first
"""


@pytest.mark.parametrize(
    ("imports", "called"),
    [
        ("v1 = tf.compat.v1", "v1.layers."),
        ("import tensorflow.compat.v1 as v1", "v1.layers."),
        ("", "tf.compat.v1.layers."),
        ("from tensorflow.compat.v1 import layers", "layers."),
    ],
)
def test_the_layers_of_tf1_work_in_each_run_of_a_process_by_whatever_name_they_are_kept(imports, called):
    program = MODULES_OF_TF1.format(imports, called)
    done = forked.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_layers_of_tf1_are_refused_by_tensorflow_again_after_the_run():
    _train(lambda inputs, mode: mox.ModelSpec(loss=tf.compat.v1.get_variable("w", [])), max_number_of_steps=1)  # noqa: ARG005
    with pytest.raises(AttributeError, match="`dense` is not available with Keras 3"):
        tf.compat.v1.layers.dense  # noqa: B018


def test_the_layers_of_tf1_say_what_to_install_where_tf_keras_is_missing(monkeypatch):
    for name in list(sys.modules):
        if name.partition(".")[0] == "tf_keras":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tf_keras", None)  # what Python itself notes: there is no such module

    def model_fn(inputs, mode):  # noqa: ARG001
        assert not hasattr(tf.compat.v1.layers, "__path__")  # which Python asks of modules
        return mox.ModelSpec(loss=tf.reduce_sum(tf.compat.v1.layers.conv2d(inputs[0], 1, 1)))

    with pytest.raises(mox.UsageError) as refusal:
        _train(model_fn, max_number_of_steps=1)
    assert str(refusal.value) == (
        "model_fn uses tf.compat.v1.layers.conv2d, which TensorFlow has left to tf_keras, and tf_keras is not "
        "installed: pip install tf_keras, or use the layers of Keras 3, keras.layers."
    )


def test_a_name_that_is_no_layer_of_tf1_is_unknown():
    def model_fn(inputs, mode):  # noqa: ARG001
        tf.compat.v1.layers.conv2  # noqa: B018

    with pytest.raises(AttributeError, match="has no attribute 'conv2'"):
        _train(model_fn, max_number_of_steps=1)


def _replaced():
    """All that a run replaces, and None where there is nothing."""
    random_ops = importlib.import_module("mox_core.engine.tf_patches.random_ops")
    attributes = [
        (tf.Tensor, "__hash__"),
        (tf.Variable, "__hash__"),
        (tf.Graph, "get_collection"),
        (importlib.import_module("tensorflow.python.util.lazy_loader").KerasLazyLoader, "__getattr__"),
        (importlib.import_module("tensorflow.python.ops.losses.util"), "math_ops"),
        (tf.data.Dataset, "map"),
        (tf.data.Dataset, "__iter__"),
        (tf.data.Dataset, "from_tensor_slices"),
        (tf.data.Dataset, "from_tensors"),
        (tf.data.Dataset, "make_one_shot_iterator"),
        (tf.compat.v1.data.Dataset, "map"),
        (tf.compat.v1.data.Dataset, "make_one_shot_iterator"),
        (tf.compat.v1.data.Dataset, "_make_one_shot_iterator"),
        (tf.data.Dataset._GeneratorState, "get_iterator"),
        (tf.train.Checkpoint, "read"),
        (tf.train.Checkpoint, "restore"),
        (tf.compat.v1.train.Saver, "restore"),
        (tf.Variable, "load"),
        (importlib.import_module("tensorflow.python.ops.resource_variable_ops").BaseResourceVariable, "numpy"),
        (keras.layers.Layer, "get_weights"),
        (importlib.import_module("tensorflow.python.ops.gen_resource_variable_ops"), "var_handle_op"),
        *((module, name) for module, name, _ in random_ops._TWINS),
    ]
    return {(owner.__name__, name): vars(owner).get(name) for owner, name in attributes}


def _logging():
    logger = tf.get_logger()
    return logger.level, logger.propagate, logger.filters[:], logger.handlers[:], warnings.filters[:]


@pytest.mark.parametrize("ends", ["well", "with an error"])
def test_what_a_run_changes_in_tensorflow_is_as_before_when_it_has_ended(ends):
    within = {}

    def model_fn(inputs, mode):  # noqa: ARG001
        within.update(_replaced())
        tf.compat.v1.layers.dense(inputs[0], 1)
        if ends == "with an error":
            raise ZeroDivisionError
        return mox.ModelSpec(loss=tf.compat.v1.get_variable("w", []))

    before, logging_before = _replaced(), _logging()
    with pytest.raises(ZeroDivisionError) if ends == "with an error" else contextlib.nullcontext():
        _train(model_fn, max_number_of_steps=1)
    after = _replaced()
    assert [key for key, value in within.items() if value is before[key]] == []
    assert [key for key, value in after.items() if value is not before[key]] == []
    assert _logging() == logging_before


RANDOM_OPS = {
    "random_uniform": lambda: tf.random.uniform([9]),
    "random_uniform_int": lambda: tf.random.uniform([9], 0, 1000, tf.int32),
    "random_standard_normal": lambda: tf.random.normal([9]),
    "truncated_normal": lambda: tf.random.truncated_normal([9]),
    "random_shuffle": lambda: tf.random.shuffle(tf.range(99)),
    "multinomial": lambda: tf.random.categorical(tf.zeros([1, 99]), 9),
    "random_gamma": lambda: tf.random.gamma([9], 3.0),
    "random_poisson_v2": lambda: tf.random.poisson([9], 99.0),
    "sample_distorted_bounding_box_v2": lambda: tf.image.sample_distorted_bounding_box(
        [999, 999, 3], tf.zeros([1, 0, 4]), use_image_if_no_bounding_boxes=True
    )[0],
}


@pytest.mark.parametrize("name", RANDOM_OPS)
def test_a_random_operation_of_tensorflow_comes_from_the_function_that_a_run_replaces(name):
    from mox_core.engine.randomness import seeded
    from mox_core.engine.tf_patches.random_ops import stateless_random_ops

    def draw():
        with seeded("key"):
            return RANDOM_OPS[name]().numpy().tolist()

    message = f"TensorFlow calls {name} no longer, or in another way: see mox_core/engine/tf_patches/random_ops.py"
    assert draw() != draw()
    with stateless_random_ops():
        assert draw() == draw(), message


def test_every_random_operation_that_a_run_replaces_is_tested():
    from mox_core.engine.tf_patches.random_ops import _TWINS

    assert {name for _, name, _ in _TWINS} == set(RANDOM_OPS)


def test_tables_seeds_and_layers_of_input_fn_come_from_what_a_run_replaces():
    """That each of them works in a run, `test_input_state.py` shows; that it is called at all, here."""
    from mox_core.engine.input.input_trace import tracing
    from mox_core.engine.tf_patches.input_state import state_of_input_fn

    def body():
        with tracing(tf.compat.v1.get_default_graph()):
            for anonymous in (False, True):
                table = tf.lookup.experimental.MutableHashTable(
                    tf.string, tf.int64, -1, experimental_is_anonymous=anonymous
                )
                assert table.resource_handle.op.get_attr("shared_name").startswith(b"mox/")
            dense = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, -1, -2, -3)
            assert dense.resource_handle.op.get_attr("shared_name").startswith(b"mox/")
            layer = keras.layers.StringLookup(name="words")
            layer.adapt(["a"])
            assert layer.get_config()["name"] == "words"
            with pytest.raises(mox.UsageError, match="Generator"):
                tf.random.Generator.from_seed(1)
        return tf.constant(0)

    with state_of_input_fn():
        tf.compat.v1.wrap_function(body, [])


def test_tensorflow_makes_one_shot_iterators_by_the_methods_that_a_run_replaces(monkeypatch):
    dataset, calls = tf.compat.v1.data.Dataset, []
    message = "TensorFlow renamed {} of tf.compat.v1.data.Dataset: see mox_core/engine/tf_patches/one_shot_iterators.py"
    for name in ("make_one_shot_iterator", "_make_one_shot_iterator"):
        assert name in vars(dataset), message.format(name)

    monkeypatch.setattr(dataset, "_make_one_shot_iterator", lambda self: calls.append(self))  # noqa: PLW0108  (a method)
    tf.compat.v1.data.make_one_shot_iterator(dataset.range(1))
    assert len(calls) == 1, message.format("_make_one_shot_iterator")


def test_the_iterators_of_a_generator_are_asked_for_by_the_method_that_a_run_replaces(monkeypatch):
    """That one is known which was read before, `test_input_state.py` shows."""
    from mox_core.engine.tf_patches import generators

    message = f"TensorFlow asks for the iterators of from_generator in another way: see {generators.__file__}"
    begun = []
    monkeypatch.setattr(generators, "check_is_new", begun.append)
    given = [iter([1, 2]), iter([3])]
    expected = list(given)
    with generators.watched_generators():
        dataset = tf.data.Dataset.from_generator(lambda: given.pop(0), output_signature=tf.TensorSpec([], tf.int64))
        assert [int(number) for number in dataset.repeat(2)] == [1, 2, 3]
    assert begun == expected, message


def test_tensorflow_makes_variables_by_the_operation_from_which_a_run_keeps_their_names():
    from mox_core.engine.tf_patches.variable_handles import nameless_handles

    assert "weight" in str(tf.Variable(1.0, name="weight").handle)
    with nameless_handles():
        variable = tf.Variable(1.0, name="weight")
    message = "TensorFlow makes variables in another way: see mox_core/engine/tf_patches/variable_handles.py"
    assert "weight" not in str(variable.handle), message
    assert variable.name == "weight:0"


def test_tf_keras_has_the_layers_of_tf1_where_a_run_looks_for_them():
    layers = importlib.import_module("tf_keras.api._v1.keras.__internal__.legacy.layers")
    assert {"dense", "conv2d", "batch_normalization", "Dense"} <= set(vars(layers)), (
        "tf_keras moved the layers of TF1: see mox_core/engine/tf_patches/tf1_layers.py"
    )


def test_a_file_that_the_user_logs_to_gets_every_line_once(tmp_path):
    import logging

    def model_fn(inputs, mode):  # noqa: ARG001
        return mox.ModelSpec(loss=tf.reduce_sum(inputs[0]) * tf.compat.v1.get_variable("weight", []))

    handler = logging.FileHandler(tmp_path / "lines.txt")
    logging.getLogger().addHandler(handler)
    try:
        _train(model_fn, max_number_of_steps=21)
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    lines = (tmp_path / "lines.txt").read_text().splitlines()
    assert [line.split("(")[0] for line in lines[:-1]] == ["step: 0", "step: 10", "step: 20"]
    assert lines[-1] == "Training stops at global step 21: max_number_of_steps is reached."
