"""What TF1-style code finds while a run lasts, and what it is told."""

import sys
import warnings

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


def test_the_batch_norm_of_tf_slim_works_and_moves_its_averages(tmp_path):
    import tf_slim

    def model_fn(inputs, mode):
        net = tf_slim.batch_norm(inputs[0], is_training=mode == mox.ModeKeys.TRAIN, decay=0.9)
        return mox.ModelSpec(loss=tf.reduce_sum(net))

    result = _train(model_fn, log_dir=tmp_path, max_number_of_steps=3)
    mean = tf.train.load_checkpoint(result.checkpoint).get_tensor("BatchNorm/moving_mean")
    np.testing.assert_allclose(mean, (1 - 0.9**3) * np.array([1.0, 3.0]), rtol=1e-5)


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
        return mox.ModelSpec(loss=tf.reduce_sum(net))

    result = _train(model_fn, log_dir=tmp_path, max_number_of_steps=3)
    saved = tf.train.load_checkpoint(result.checkpoint)
    assert {name for name in saved.get_variable_to_shape_map() if "/" in name and not name.startswith("mox/")} == {
        *(f"batch_normalization/{name}" for name in ("beta", "gamma", "moving_mean", "moving_variance")),
        *(f"head/{layer}/{name}" for layer in ("dense", "dense_1") for name in ("kernel", "bias")),
    }
    mean = saved.get_tensor("batch_normalization/moving_mean")
    np.testing.assert_allclose(mean, (1 - 0.9**3) * np.array([1.0, 3.0]), rtol=1e-5)


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


def test_what_a_run_changes_in_tensorflow_is_as_before_when_it_has_ended():
    from tensorflow.python.ops import gen_random_ops

    def everything():
        return (
            tf.Tensor.__hash__,
            gen_random_ops.random_uniform,
            tf.data.Dataset.map,
            tf.data.Dataset.__iter__,
            hasattr(tf.data.Dataset, "make_one_shot_iterator"),
            tf.compat.v1.data.Dataset.make_one_shot_iterator,
            tf.compat.v1.data.Dataset._make_one_shot_iterator,
            tf.compat.v1.layers,
            warnings.filters[:],
            tf.get_logger().level,
            tf.get_logger().propagate,
        )

    def failing_fn(inputs, mode):  # noqa: ARG001
        tf.compat.v1.layers.dense(inputs[0], 1)
        raise ZeroDivisionError

    before = everything()
    with pytest.raises(ZeroDivisionError):
        _train(failing_fn, max_number_of_steps=1)
    assert everything() == before


def test_a_script_that_switches_tf2_off_is_told_to_leave_that_out():
    script = """
import tensorflow.compat.v1 as tf
import mox_core as mox
tf.disable_v2_behavior()
mox.run(input_fn=lambda mode: 0.0, model_fn=lambda inputs, mode: None, optimizer_fn=lambda: None,
        run_mode="TRAIN", max_number_of_steps=1)
"""
    result = forked.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.stderr.rstrip().endswith(
        "mox_core.errors.UsageError: TensorFlow does not execute eagerly, and mox runs on TF2: remove "
        "tf.compat.v1.disable_v2_behavior() and disable_eager_execution(), and call mox.run outside of graphs. "
        "TF1-style code in model_fn needs neither."
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
