"""The layers against those of Keras, with the same weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.networks import layers
from mox_core.networks.context import Context

KEYS = tf.compat.v1.GraphKeys
IMAGES = np.random.default_rng(0).normal(0, 1, (2, 9, 12, 6)).astype(np.float32)


def context(**settings):
    given = {"run_mode": "EVAL", "num_classes": 5, "weight_decay": 0.0, "data_format": "NHWC"}
    return Context(**{**given, "batch_norm_decay": 0.9, "batch_norm_epsilon": 1e-3, "initial_bias": 0.5, **settings})


def built(layer, inputs=IMAGES, shared=None, **options):
    """Return what a layer computes with random weights, these by name, and the regularization losses."""
    shared = shared or context()
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        net = layer(tf.constant(inputs), shared, **options)
        variables = {v.op.name: v for v in tf.compat.v1.global_variables()}
        session.run(tf.compat.v1.global_variables_initializer())
        return session.run([net, variables, tf.compat.v1.get_collection(KEYS.REGULARIZATION_LOSSES)])


def keras_layer(layer, inputs, weights):
    layer.build(inputs.shape)
    layer.set_weights(weights)
    return np.asarray(layer(inputs))


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("size", "stride"), [(3, 1), ((1, 7), 1), (4, 2), ((5, 2), 2)])
def test_a_convolution_computes_what_that_of_keras_does(size, stride, padding):
    ours, weights, _ = built(
        layers.conv, filters=4, size=size, stride=stride, padding=padding, normalize=False, scope="c"
    )
    layer = keras.layers.Conv2D(4, size, stride, padding.lower(), activation="relu")
    expected = keras_layer(layer, IMAGES, [weights["c/weights"], weights["c/biases"]])
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)
    assert weights["c/biases"].tolist() == [0.5] * 4


@pytest.mark.parametrize("layer", [layers.conv, layers.depthwise_conv, layers.separable_conv])
@pytest.mark.parametrize("size", [3, 4, (3, 5)])
def test_a_centred_layer_of_stride_2_is_that_of_stride_1_subsampled(layer, size):
    filters = {} if layer is layers.depthwise_conv else {"filters": 4}

    def both(net, shared):
        with tf.compat.v1.variable_scope("", reuse=tf.compat.v1.AUTO_REUSE):
            results = [layer(net, shared, size=size, stride=stride, scope="c", **filters) for stride in (1, 2)]
        return results[0][:, ::2, ::2] - results[1]

    difference, _, _ = built(both)
    assert difference.shape[1:3] == (5, 6)
    np.testing.assert_allclose(difference, 0, atol=1e-5)


def test_a_depthwise_convolution_computes_what_that_of_keras_does():
    ours, weights, _ = built(
        layers.depthwise_conv, size=3, stride=2, padding="SAME", normalize=False, activation=None, scope="d"
    )
    layer = keras.layers.DepthwiseConv2D(3, 2, "same")
    expected = keras_layer(layer, IMAGES, [weights["d/depthwise_weights"], weights["d/biases"]])
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_separable_convolution_computes_what_that_of_keras_does():
    options = {"filters": 5, "size": (3, 5), "padding": "VALID", "multiplier": 2}
    ours, weights, _ = built(layers.separable_conv, normalize=False, scope="s", **options)
    layer = keras.layers.SeparableConv2D(5, (3, 5), depth_multiplier=2, activation="relu")
    parts = [weights[f"s/{name}"] for name in ("depthwise_weights", "pointwise_weights", "biases")]
    np.testing.assert_allclose(ours, keras_layer(layer, IMAGES, parts), rtol=1e-4, atol=1e-4)


def test_a_full_connection_computes_what_that_of_keras_does():
    rows = IMAGES[:, 0, 0]
    ours, weights, _ = built(layers.fully_connected, rows, units=7, scope="f")
    expected = keras_layer(keras.layers.Dense(7, "relu"), rows, [weights["f/weights"], weights["f/biases"]])
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("layer", "theirs"),
    [(layers.max_pool, keras.layers.MaxPooling2D), (layers.avg_pool, keras.layers.AveragePooling2D)],
)
def test_a_pooling_computes_what_that_of_keras_does(layer, theirs, padding):
    ours, _, _ = built(layer, size=(3, 2), stride=2, padding=padding)
    np.testing.assert_allclose(ours, theirs((3, 2), 2, padding.lower())(IMAGES), rtol=1e-5, atol=1e-5)


def test_batch_normalization_without_a_scale_has_no_gamma():
    shared = context(batch_norm_scale=False)
    ours, variables, _ = built(layers.batch_norm, shared=shared, scope="b")
    assert sorted(variables) == ["b/beta", "b/moving_mean", "b/moving_variance"]
    np.testing.assert_allclose(ours, IMAGES / np.sqrt(1 + 1e-3), rtol=1e-5, atol=1e-6)


def test_weight_decay_is_for_kernels_and_for_biases_where_they_decay():
    def losses(layer, *, decays_biases=False, **options):
        shared = context(weight_decay=0.1, decays_biases=decays_biases)
        _, weights, found = built(layer, shared=shared, size=3, normalize=False, scope="c", **options)
        return weights, sorted(found)

    def half_squares(*values):
        return pytest.approx(sorted(0.1 * np.square(value).sum() / 2 for value in values), rel=1e-5)

    weights, found = losses(layers.conv, filters=4)
    assert found == half_squares(weights["c/weights"])
    weights, found = losses(layers.conv, filters=4, decays_biases=True)
    assert found == half_squares(weights["c/weights"], weights["c/biases"])
    weights, found = losses(layers.separable_conv, filters=4)
    assert found == half_squares(weights["c/depthwise_weights"], weights["c/pointwise_weights"])
    weights, found = losses(layers.separable_conv, filters=4, regularize_depthwise=False)
    assert found == half_squares(weights["c/pointwise_weights"])
    assert losses(layers.depthwise_conv, regularize=False)[1] == []


def test_dropout_leaves_out_a_part_in_training_alone():
    ours, _, _ = built(layers.dropout, np.ones([100, 100], np.float32), context(run_mode="TRAIN"), keep_prob=0.8)
    assert set(np.unique(ours).round(5)) == {0.0, 1.25}
    assert np.mean(ours > 0) == pytest.approx(0.8, abs=0.02)
    np.testing.assert_array_equal(built(layers.dropout, keep_prob=0.8)[0], IMAGES)


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (layers.conv, {"filters": 2, "size": (10, 3), "scope": "c", "padding": "VALID"}),
        (layers.max_pool, {"size": (10, 3), "padding": "VALID"}),
    ],
)
def test_a_layer_that_sees_more_than_is_left_of_the_image_is_refused(layer, options):
    with pytest.raises(UsageError, match=r"the images are too small: .* looks at 10 x 3 values, of which 9 x 12 are"):
        built(layer, **options)
