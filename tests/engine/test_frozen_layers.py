"""Layers that the flags freeze stand still: weights, moving averages, and how batch normalization normalizes."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

v1 = tf.compat.v1
FEATURES = np.random.default_rng(3).normal(5, 3, size=(16, 1, 1, 2)).astype(np.float32)
EPSILON = 1e-3
MEAN, VARIANCE, GAMMA, BETA = [1.0, -2.0], [4.0, 0.25], [2.0, 3.0], [0.5, -1.0]
STILL = (FEATURES - MEAN) / np.sqrt(np.add(VARIANCE, EPSILON)) * GAMMA + BETA


def given(values):
    return v1.constant_initializer(values)


def slim_options(training):
    names = {"beta": BETA, "gamma": GAMMA, "moving_mean": MEAN, "moving_variance": VARIANCE}
    initializers = {name: given(value) for name, value in names.items()}
    return {"is_training": training, "scale": True, "epsilon": EPSILON, "param_initializers": initializers}


def of_slim(net, training):
    import tf_slim

    return tf_slim.batch_norm(net, **slim_options(training), scope="norm")


def of_slim_after_a_dense_layer(net, training):
    import tf_slim

    return tf_slim.batch_norm(net[:, 0, 0], **slim_options(training), scope="norm")[:, None, None]


def of_slim_in_place(net, training):
    import tf_slim

    return tf_slim.batch_norm(net, **slim_options(training), updates_collections=None, scope="norm")


def keras_options():
    values = {"beta": BETA, "gamma": GAMMA, "moving_mean": MEAN, "moving_variance": VARIANCE}
    return {"epsilon": EPSILON} | {f"{name}_initializer": given(value) for name, value in values.items()}


def of_tf1(net, training):
    return v1.layers.batch_normalization(net, training=training, name="norm", **keras_options())


def of_keras(net, training):
    del training
    values = {"beta": BETA, "gamma": GAMMA, "moving_mean": MEAN, "moving_variance": VARIANCE}
    options = {f"{name}_initializer": keras.initializers.Constant(np.array(value)) for name, value in values.items()}
    return keras.layers.BatchNormalization(name="norm", epsilon=EPSILON, **options)(net)


def of_a_keras_model(net, training):
    del training
    inner = keras.Input([1, 1, 2])
    return keras.Model(inner, of_keras(inner, None), name="inner")(net)


def of_operations(net, training):
    with v1.variable_scope("norm"):
        names = (("gamma", GAMMA, True), ("beta", BETA, True), ("mean", MEAN, False), ("variance", VARIANCE, False))
        gamma, beta, mean, variance = (
            v1.get_variable(name, [2], initializer=given(value), trainable=trained) for name, value, trained in names
        )
    options = {"mean": mean, "variance": variance, "epsilon": EPSILON, "is_training": training}
    net, *new = v1.nn.fused_batch_norm(net, gamma, beta, exponential_avg_factor=0.1 if training else 1.0, **options)
    if training:
        for variable, value in zip((mean, variance), new, strict=True):
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, variable.assign(value))
    return net


LAYERS = {
    each.__name__: each
    for each in (
        of_keras,
        of_a_keras_model,
        of_tf1,
        of_slim,
        of_slim_after_a_dense_layer,
        of_slim_in_place,
        of_operations,
    )
}


def with_head(layer, outputs=None):
    def model_fn(inputs, mode):
        with v1.variable_scope("backbone"), keras.name_scope("backbone"):
            net = layer(inputs[0] + 0.0, mode == mox.ModeKeys.TRAIN)
        if outputs is not None:
            outputs.append(net)
        head = v1.get_variable("head/weights", initializer=1.0)
        first = net[0, 0, 0]
        log_info = {"first": first[0], "second": first[1]}
        # As scripts of TF1 do it; the updates of what stands still are not run by this either.
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            return mox.ModelSpec(loss=tf.reduce_mean((net * head) ** 2), log_info=log_info)

    return model_fn


def train(model_fn, log_dir, steps=3, **flags):
    for name, value in flags.items():
        mox.set_flag(name, value)
    try:
        return mox.run(
            input_fn=lambda mode: tf.data.Dataset.from_tensors(FEATURES).unbatch().repeat(),  # noqa: ARG005
            model_fn=model_fn,
            optimizer_fn=mox.get_optimizer_fn("momentum", 0.01, momentum=0.9),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=8,
            max_number_of_steps=steps,
            log_dir=log_dir,
            log_every_n_steps=1,
        )
    finally:
        for name in flags:
            mox.set_flag(name, "")


def moved(log_dir, steps=3):
    """The variables of the model that are others after so many steps than before the first."""
    first, last = (tf.train.load_checkpoint(str(log_dir / f"model.ckpt-{step}")) for step in (0, steps))
    names = [name for name in first.get_variable_to_shape_map() if name.startswith(("backbone", "head"))]
    names = [name for name in names if "Momentum" not in name]
    assert len(names) == 5
    return {name for name in names if not np.array_equal(first.get_tensor(name), last.get_tensor(name))}


@pytest.fixture
def warnings():
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    tf.get_logger().addHandler(handler)
    yield lines
    tf.get_logger().removeHandler(handler)


@pytest.mark.parametrize("flag", [{"trainable_include_patterns": "^head/"}, {"trainable_exclude_patterns": "backbone"}])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.filterwarnings("ignore:`layer.apply` is deprecated")
def test_batch_normalization_of_a_frozen_layer_goes_by_its_averages_and_keeps_them(kind, flag, tmp_path, warnings):
    result = train(with_head(LAYERS[kind]), tmp_path, **flag)
    assert moved(tmp_path) == {"head/weights"}
    for record, row in zip(result.history.of("TRAIN"), (0, 8, 0), strict=True):  # the first sample of each batch
        assert [record["first"], record["second"]] == pytest.approx(STILL[row, 0, 0].tolist(), rel=1e-5)
    assert not warnings


@pytest.mark.parametrize("kind", ["of_keras", "of_tf1", "of_operations"])
def test_a_layer_of_which_something_is_trained_has_the_moments_of_its_batch(kind, tmp_path):
    result = train(with_head(LAYERS[kind]), tmp_path, steps=1, trainable_exclude_patterns="gamma$")
    names = {name.rpartition("/")[2] for name in moved(tmp_path, 1)}
    assert len(names) == 4, names
    assert "gamma" not in names
    batch = FEATURES[:8, 0, 0]
    expected = (batch[0] - batch.mean(0)) / np.sqrt(batch.var(0) + EPSILON) * GAMMA + BETA
    record = result.history.of("TRAIN")[0]
    assert [record["first"], record["second"]] == pytest.approx(expected.tolist(), rel=1e-4)


def test_a_network_by_name_stands_still(tmp_path):
    def model_fn(inputs, mode):
        images = tf.image.resize(tf.tile(inputs[0], [1, 32, 32, 1]), [32, 32])
        network = mox.get_model_fn("resnet_v1_20", run_mode=mode, num_classes=2)
        logits, end_points = network(tf.concat([images, images[..., :1]], -1) * 20)
        net = end_points["global_pool"]
        return mox.ModelSpec(loss=tf.reduce_mean(logits**2), log_info={"pooled": tf.reduce_mean(net)})

    trained = train(model_fn, tmp_path, steps=2, trainable_include_patterns="logits").history.of("TRAIN")
    first, last = (tf.train.load_checkpoint(str(tmp_path / f"model.ckpt-{step}")) for step in (0, 2))
    names = [name for name in first.get_variable_to_shape_map() if "BatchNorm/moving" in name]
    assert len(names) == 2 * 19
    assert all(np.array_equal(first.get_tensor(name), last.get_tensor(name)) for name in names)
    evaluated = mox.run(
        input_fn=lambda mode: tf.data.Dataset.from_tensors(FEATURES).unbatch().take(8),  # noqa: ARG005
        model_fn=model_fn,
        run_mode=mox.ModeKeys.EVAL,
        batch_size=8,
        checkpoint_path=str(tmp_path / "model.ckpt-0"),
    )
    assert trained[0]["pooled"] == pytest.approx(evaluated.metrics["pooled"], rel=1e-5)


def test_what_else_moves_averages_of_a_frozen_layer_is_named_with_its_line(tmp_path, warnings):
    def by_hand(net, training):
        del training
        with v1.variable_scope("norm"):
            v1.get_variable("gamma", [2])
            v1.get_variable("beta", [2])
            mean = v1.get_variable("mean", [2], trainable=False)
            v1.get_variable("variance", [2], trainable=False)
        mean.assign_add(0.1 * (tf.reduce_mean(net, [0, 1, 2]) - mean))
        return net - mean

    train(with_head(by_hand), tmp_path, trainable_include_patterns="^head/")
    (line,) = [each for each in warnings if "the same" in each]
    assert line.startswith(
        "The flags leave nothing to train of layers whose averages or counts model_fn changes all the same: "
        "backbone/norm/mean (test_frozen_layers.py:"
    )


def test_a_pattern_that_matches_no_variable_is_refused_with_what_is_near():
    with pytest.raises(mox.UsageError) as refusal:
        train(with_head(of_operations), None, trainable_exclude_patterns="backbon/norn")
    assert str(refusal.value) == (
        "--trainable_exclude_patterns holds 'backbon/norn', which matches no variable. Did you mean 'backbone/norm'?"
    )
