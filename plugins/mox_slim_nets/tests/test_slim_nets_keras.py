"""MobileNets and ResNeXts against Keras: its own models with their weights, or the layers of the paper."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

NORMALIZATION = ("gamma", "beta", "moving_mean", "moving_variance")


def ours(name, images, weights, **options):
    """Return the logits of a network, with `weights(name, shape)` as its variables."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        build = mox.get_model_fn(name, run_mode="PREDICT", num_classes=7, preprocess_fn=None, **options)
        logits, _ = build(tf.constant(images))
        variables = tf.compat.v1.global_variables()
        fed = {v.initializer.inputs[1]: weights(v.op.name, v.shape.as_list()) for v in variables}
        session.run([v.initializer for v in variables], fed)
        return session.run(logits)


def random_images(*shape):
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


def random_value(random, name, shape):
    """A value for a variable that neither drowns nor swells the signal."""
    if "kernel" in name or "weights" in name:
        inputs = np.prod(shape[:2]) if name.endswith(("depthwise_kernel", "depthwise_weights")) else np.prod(shape[:-1])
        return (random.uniform(-1, 1, shape) * np.sqrt(6 / inputs)).astype(np.float32)
    low = 0.5 if name.endswith(("gamma", "moving_variance")) else -0.5
    return random.uniform(low, low + 1, shape).astype(np.float32)


def randomized(model):
    """Give all weights of a model random values."""
    random = np.random.default_rng(4)
    for layer in model.layers:
        prefix = "depthwise_" if isinstance(layer, keras.layers.DepthwiseConv2D) else ""
        layer.set_weights([random_value(random, prefix + weight.name, weight.shape) for weight in layer.weights])
    return model


def close(found, expected):
    assert np.ptp(expected, axis=0).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


# Keras pads MobileNet v1 as for even sides whatever they are, so these are multiples of 32.
@pytest.mark.parametrize(
    ("name", "make", "alpha", "size"),
    [
        ("mobilenet_v1_025", keras.applications.MobileNet, 0.25, (64, 96)),
        ("mobilenet_v2_035", keras.applications.MobileNetV2, 0.35, (65, 98)),
    ],
)
def test_mobilenets_compute_what_those_of_keras_do(name, make, alpha, size):
    images = random_images(2, *size, 3)
    model = make(weights=None, include_top=False, pooling="avg", alpha=alpha, input_shape=(*size, 3))
    outputs = keras.layers.Dense(7)(model.output)
    model = randomized(keras.Model(model.input, outputs))
    values = iter([value for layer in model.layers for value in layer.get_weights()])
    found = ours(name, images, lambda _, shape: next(values).reshape(shape))
    assert next(values, None) is None
    close(found, model.predict(images, verbose=0).reshape(2, 7))


def keras_resnext(name, units, weights, images):
    """ResNeXt-50 or -101 (32x4d) of the paper's table 1, by grouped convolutions of Keras."""

    def layer(net, scope, filters, size, stride=1, groups=1, *, relu=True):
        net = keras.layers.ZeroPadding2D(size // 2)(net)
        convolution = keras.layers.Conv2D(filters, size, strides=stride, groups=groups, use_bias=False)
        normalization = keras.layers.BatchNormalization(epsilon=1e-5)
        net = normalization(convolution(net))
        convolution.set_weights([weights[f"{scope}/weights"]])
        normalization.set_weights([weights[f"{scope}/BatchNorm/{part}"] for part in NORMALIZATION])
        return keras.layers.ReLU()(net) if relu else net

    inputs = keras.Input(images.shape[1:])
    net = keras.layers.MaxPooling2D(3, 2, padding="same")(layer(inputs, f"{name}/conv1", 64, 7, 2))
    for block, number in enumerate(units):
        for unit in range(number):
            scope = f"{name}/block{block + 1}/unit_{unit + 1}/resnext"
            stride = 2 if block and not unit else 1
            shortcut = net if unit else layer(net, f"{scope}/shortcut", 256 * 2**block, 1, stride, relu=False)
            net = layer(net, f"{scope}/conv1", 128 * 2**block, 1)
            net = layer(net, f"{scope}/conv2", 128 * 2**block, 3, stride, groups=32)
            net = keras.layers.ReLU()(layer(net, f"{scope}/conv3", 256 * 2**block, 1, relu=False) + shortcut)
    net = keras.layers.GlobalAveragePooling2D()(net)
    features = keras.Model(inputs, net).predict(images, verbose=0)
    return features @ weights[f"{name}/logits/weights"][0, 0] + weights[f"{name}/logits/biases"]


@pytest.mark.networks
def test_both_forms_of_resnext_compute_what_the_paper_says():
    images = random_images(2, 64, 96, 3)
    random, kept = np.random.default_rng(5), {}

    def weights(variable, shape):
        kept[variable] = random_value(random, variable, shape)
        return kept[variable]

    grouped = ours("resnext_c_50", images, weights)
    one_by_one = ours("resnext_b_50", images, lambda name, _: kept[name.replace("resnext_b", "resnext_c")])
    expected = keras_resnext("resnext_c_50", (3, 4, 6, 3), kept, images)
    close(grouped, expected)
    close(one_by_one, expected)


def parameters_of_resnext(units):
    """From table 1 of arXiv:1611.05431: kernels, and two parameters of batch normalization a filter."""

    def layer(size, depth_in, depth, groups=1):
        return size * size * depth_in // groups * depth + 2 * depth

    total, depth_in = layer(7, 3, 64), 64
    for block, number in enumerate(units):
        width, depth = 128 * 2**block, 256 * 2**block
        total += layer(1, depth_in, depth)
        for unit in range(number):
            total += layer(1, depth if unit else depth_in, width) + layer(3, width, width, 32) + layer(1, width, depth)
        depth_in = depth
    return total + depth_in * 1000 + 1000


@pytest.mark.networks
@pytest.mark.parametrize("form", ["b", "c"])
@pytest.mark.parametrize(
    ("layers", "units", "published"), [(50, (3, 4, 6, 3), 25_028_904), (101, (3, 4, 23, 3), 44_177_704)]
)
def test_resnexts_have_as_many_parameters_as_published(form, layers, units, published):
    assert parameters_of_resnext(units) == published  # torchvision's resnext50_32x4d, timm's resnext101_32x4d
    with tf.Graph().as_default():
        build = mox.get_model_fn(f"resnext_{form}_{layers}", run_mode="PREDICT", num_classes=1000)
        build(tf.compat.v1.placeholder(tf.float32, [2, 32, 32, 3]))
        assert sum(v.shape.num_elements() for v in tf.compat.v1.trainable_variables()) == published
