"""The networks, built on graphs: parameters, end points, options, sizes of images, preprocessing."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.errors import UsageError
from mox_slim_nets.families import FAMILIES

KEYS = tf.compat.v1.GraphKeys

# Trainable parameters with 1000 classes, of what EXPORT builds: no auxiliary logits. The sources are in the README.
PARAMETERS = {
    # 5*5*3*32 + 32, 5*5*32*64 + 64, 7*7*64*1024 + 1024, 1024*1000 + 1000
    "lenet": 2_432 + 51_264 + 3_212_288 + 1_025_000,
    # 5*5*3*64 + 64, 5*5*64*64 + 64, 8*8*64*384 + 384, 384*192 + 192, 192*1000 + 1000
    "cifarnet": 4_864 + 102_464 + 1_573_248 + 73_920 + 193_000,
    # (11*11*3 + 1)*64, (5*5*64 + 1)*192, (9*192 + 1)*384, (9*384 + 1)*384, (9*384 + 1)*256, and three dense ones
    "alexnet_v2": 23_296 + 307_392 + 663_936 + 1_327_488 + 884_992 + 26_218_496 + 16_781_312 + 4_097_000,
    # (11*11*3 + 1)*64, (5*5*64 + 1)*256, (9*256 + 1)*512, (9*512 + 1)*1024, (9*1024 + 1)*1024, and three dense ones
    "overfeat": 23_296 + 409_856 + 1_180_160 + 4_719_616 + 9_438_208 + 113_249_280 + 12_587_008 + 4_097_000,
    "vgg_a": 132_863_336,
    "vgg_16": 138_357_544,
    "vgg_19": 143_667_240,
    # For each filter of a 3x3 convolution a scale and an offset in place of a bias: 2752, 4224 and 5504 filters.
    "vgg_a_bn": 132_863_336 + 2_752,
    "vgg_16_bn": 138_357_544 + 4_224,
    "vgg_19_bn": 143_667_240 + 5_504,
    "inception_v1": 6_617_624,
    "inception_v2": 11_178_336,
    "inception_v3": 23_817_352,
    # Others publish 42,679,816, with a scale for each filter, which slim has not: of the stem, A, B and C blocks, and
    # the reductions between them.
    "inception_v4": 42_679_816 - (864 + 4 * 608 + 1_056 + 7 * 2_272 + 1_536 + 3 * 3_264),
    "inception_resnet_v2": 55_813_192,
}
SAMPLE = {"lenet", "cifarnet", "alexnet_v2", "vgg_16_bn"}
NAMES = [name for family in FAMILIES for name in family.networks if name in PARAMETERS]
UNSAMPLED = [pytest.param(name, marks=[] if name in SAMPLE else pytest.mark.networks) for name in NAMES]


def network(name, *, run_mode="EVAL", num_classes=10, **options):
    return mox.get_model_fn(name, run_mode=run_mode, num_classes=num_classes, **options)


def placeholder(size, channels=3):
    return tf.compat.v1.placeholder(tf.float32, [None, size, size, channels])


def evaluated(tensors):
    with tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(7)
        session.run(tf.compat.v1.global_variables_initializer())
        return session.run(tensors)


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize("name", UNSAMPLED)
def test_parameters_are_as_many_as_published(name):
    with tf.Graph().as_default():
        size = mox.get_model_meta(name).default_image_size
        logits, _ = network(name, run_mode="PREDICT", num_classes=1000)(placeholder(size))
        variables = tf.compat.v1.trainable_variables()
    assert sum(variable.shape.num_elements() for variable in variables) == PARAMETERS[name]
    assert logits.shape.as_list() == [None, 1000]
    pattern = mox.get_model_meta(name).default_logits_pattern
    assert {v.op.name for v in variables if 1000 in v.shape} == {v.op.name for v in variables if pattern in v.op.name}


# The sides and depths of what the papers' figures name: arXiv:1602.07261, figures 3 to 9, and 15 for the second.
SHAPES = {
    "inception_v4": {
        "Conv2d_1a_3x3": [149, 32],
        "Conv2d_2a_3x3": [147, 32],
        "Conv2d_2b_3x3": [147, 64],
        "Mixed_3a": [73, 160],
        "Mixed_4a": [71, 192],
        "Mixed_5a": [35, 384],
        "Mixed_5e": [35, 384],
        "Mixed_6a": [17, 1024],
        "Mixed_6h": [17, 1024],
        "Mixed_7a": [8, 1536],
        "Mixed_7d": [8, 1536],
        "global_pool": [1, 1536],
    },
    "inception_resnet_v2": {
        "MaxPool_5a_3x3": [35, 192],
        "Mixed_5b": [35, 320],
        "Mixed_6a": [17, 1088],
        "PreAuxLogits": [17, 1088],
        "Mixed_7a": [8, 2080],
        "Conv2d_7b_1x1": [8, 1536],
    },
}


@pytest.mark.networks
@pytest.mark.parametrize("name", SHAPES)
def test_inception_of_2016_has_the_shapes_of_its_paper(name):
    with tf.Graph().as_default():
        _, end_points = network(name)(placeholder(299))
        shapes = {key: end_points[key].shape.as_list()[2:] for key in SHAPES[name]}
        names = {v.op.name for v in tf.compat.v1.global_variables()}
        end_points = {key: value.shape.as_list() for key, value in end_points.items()}
    assert shapes == SHAPES[name]
    assert end_points["AuxLogits"] == end_points["Logits"] == end_points["Predictions"] == [None, 10]
    assert end_points["PreLogitsFlatten"] == [None, 1536]
    # Of the list of variables of slim's published checkpoints.
    assert {
        "inception_v4": {
            "InceptionV4/Conv2d_1a_3x3/BatchNorm/moving_variance",
            "InceptionV4/Mixed_4a/Branch_1/Conv2d_0c_7x1/weights",
            "InceptionV4/Mixed_6h/Branch_2/Conv2d_0e_1x7/BatchNorm/beta",
            "InceptionV4/Mixed_7b/Branch_2/Conv2d_0d_1x3/weights",
            "InceptionV4/Mixed_7b/Branch_2/Conv2d_0e_3x1/BatchNorm/moving_mean",
            "InceptionV4/Mixed_7c/Branch_1/Conv2d_0c_3x1/BatchNorm/moving_mean",
            "InceptionV4/AuxLogits/Conv2d_2a/weights",
            "InceptionV4/AuxLogits/Aux_logits/biases",
            "InceptionV4/Logits/Logits/weights",
        },
        "inception_resnet_v2": {
            "InceptionResnetV2/Mixed_5b/Branch_0/Conv2d_1x1/BatchNorm/beta",
            "InceptionResnetV2/Repeat/block35_10/Branch_2/Conv2d_0c_3x3/weights",
            "InceptionResnetV2/Repeat/block35_1/Conv2d_1x1/biases",
            "InceptionResnetV2/Repeat_1/block17_20/Branch_1/Conv2d_0c_7x1/weights",
            "InceptionResnetV2/Repeat_2/block8_9/Branch_1/Conv2d_0b_1x3/weights",
            "InceptionResnetV2/Block8/Conv2d_1x1/weights",
            "InceptionResnetV2/AuxLogits/Conv2d_2a_5x5/weights",
            "InceptionResnetV2/AuxLogits/Logits/biases",
            "InceptionResnetV2/Logits/Logits/weights",
        },
    }[name] <= names


@pytest.mark.networks
def test_inception_resnet_v2_computes_what_that_of_keras_does():
    images = np.random.default_rng(3).uniform(-1, 1, (2, 75, 75, 3)).astype(np.float32)
    model = keras.applications.InceptionResNetV2(weights=None, input_shape=(75, 75, 3), classes=10)
    random = np.random.default_rng(4)
    for layer in model.layers:  # offsets and averages that are not 0 and 1, and let something through many layers
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.get_weights()[0].shape
            layer.set_weights([*random.normal(0, 0.3, (2, *shape)), random.uniform(0.2, 0.6, shape)])
    model.layers[-1].activation = keras.activations.linear
    values = weights_of_inception_resnet(model)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        logits, _ = network("inception_resnet_v2", run_mode="PREDICT", preprocess_fn=None)(tf.constant(images))
        variables = tf.compat.v1.global_variables()
        assert [v.shape.as_list() for v in variables] == [list(value.shape) for value in values]
        assignments = [variable.initializer for variable in variables]
        session.run(assignments, dict(zip([op.inputs[1] for op in assignments], values, strict=True)))
        ours = session.run(logits)
    theirs = model.predict(images, verbose=0)
    assert np.ptp(theirs, axis=0).max() > 0.01 * np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * max(1, np.abs(theirs).max()))


def weights_of_inception_resnet(model):
    """All weights in the order of slim's layers: Keras makes its layers so, too, and counts those without a name."""

    def number(layer):
        last = layer.name.rpartition("_")[2]
        return int(last) if last.isdigit() else 0

    def counted(kind, prefix):
        layers = [layer for layer in model.layers if isinstance(layer, kind) and layer.name.startswith(prefix)]
        return iter(sorted(layers, key=number))

    convolutions = counted(keras.layers.Conv2D, "conv2d")
    normalizations = counted(keras.layers.BatchNormalization, "batch_normalization")

    def take(count):
        return [
            value
            for _ in range(count)
            for value in (*next(convolutions).get_weights(), *next(normalizations).get_weights())
        ]

    values = take(5 + 7)
    for block, branches, times, reduction in (("block35", 6, 10, 4), ("block17", 4, 20, 7), ("block8", 4, 10, 0)):
        for i in range(1, times + 1):
            values += take(branches) + model.get_layer(f"{block}_{i}_conv").get_weights()
        values += take(reduction)
    last = [value for name in ("conv_7b", "conv_7b_bn", "predictions") for value in model.get_layer(name).get_weights()]
    return values + last


def keras_small(name, weights, images):
    """LeNet and CifarNet in Keras and NumPy."""

    def layer(net, scope, make, *, relu=True):
        built = make(weights[f"{scope}/biases"].shape[0])
        built.build(net.shape)
        built.set_weights([weights[f"{scope}/weights"], weights[f"{scope}/biases"]])
        net = built(net)
        return np.maximum(net, 0) if relu else np.asarray(net)

    def conv(net, scope):
        return layer(net, scope, lambda filters: keras.layers.Conv2D(filters, 5, padding="same"))

    def dense(net, scope, *, relu=True):
        return layer(net, scope, keras.layers.Dense, relu=relu)

    def pool(net):
        return np.asarray(keras.layers.MaxPooling2D(2)(net))

    def respond(net):
        squares = np.pad(net**2, [(0, 0), (0, 0), (0, 0), (4, 4)])
        sums = sum(squares[..., i : i + net.shape[-1]] for i in range(9))
        return net / (1 + 0.001 / 9 * sums) ** 0.75

    if name == "lenet":
        net = pool(conv(pool(conv(images, "LeNet/conv1")), "LeNet/conv2"))
        return dense(dense(net.reshape(len(net), -1), "LeNet/fc3"), "LeNet/fc4", relu=False)
    net = respond(pool(conv(images, "CifarNet/conv1")))
    net = pool(respond(conv(net, "CifarNet/conv2")))
    net = dense(dense(net.reshape(len(net), -1), "CifarNet/fc3"), "CifarNet/fc4")
    return dense(net, "CifarNet/logits", relu=False)


@pytest.mark.parametrize(("name", "size", "filters"), [("lenet", 28, 32), ("cifarnet", 32, 64)])
@pytest.mark.parametrize("data_format", ["NHWC", "NCHW"])
def test_small_networks_compute_what_the_same_layers_in_keras_do(name, size, filters, data_format):
    images = np.random.default_rng(3).normal(0, 30, (2, size, size, 3)).astype(np.float32)
    with tf.Graph().as_default():
        logits, end_points = network(name, preprocess_fn=None, data_format=data_format)(tf.constant(images))
        variables = {v.op.name: v for v in tf.compat.v1.global_variables()}
        ours, weights = evaluated([logits, variables])
        shape = {"NHWC": [2, size // 2, size // 2, filters], "NCHW": [2, filters, size // 2, size // 2]}
        assert end_points["pool1"].shape.as_list() == shape[data_format]
    np.testing.assert_allclose(ours, keras_small(name, weights, images), rtol=1e-3, atol=1e-3)


def test_image_sizes_that_are_not_known_are_refused_where_there_is_a_weight_for_each_pixel():
    with tf.Graph().as_default(), pytest.raises(UsageError, match="LeNet has weights for each pixel: give image_heigh"):
        network("lenet")(placeholder(None))
    with tf.Graph().as_default():
        network("lenet", image_height=28, image_width=28)(placeholder(None))


def test_an_exported_model_of_an_unknown_size_takes_the_default_size():
    with tf.Graph().as_default():
        _, end_points = network("lenet", run_mode="EXPORT")(placeholder(None))
    assert end_points["Flatten"].shape.as_list() == [None, 7 * 7 * 64]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == "inception_v1" else pytest.mark.networks)
        for name in PARAMETERS
        if name not in {"lenet", "cifarnet", "vgg_16", "vgg_19", "vgg_16_bn", "vgg_19_bn"}
    ],
)
def test_images_whose_size_is_not_known_before_give_the_logits_of_a_network_of_that_size(name):
    size = mox.get_model_meta(name).default_image_size + 33
    images = random_images(1, size, size, 3)
    with tf.Graph().as_default(), tf.compat.v1.variable_scope("", reuse=tf.compat.v1.AUTO_REUSE):
        unknown = placeholder(None)
        logits, _ = network(name, run_mode="PREDICT")(unknown)
        known, _ = network(name, run_mode="PREDICT")(tf.constant(images))
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            ours, expected = session.run([logits, known], {unknown: images})
    assert ours.shape == (1, 10)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4 * max(1, np.abs(expected).max()))


def test_the_logits_of_a_large_image_are_the_mean_of_those_of_its_parts():
    # VGG's paper, section 3.2. What is left of 256 x 256 is 6 x 6, of which the first dense layer sees 5 x 5.
    images = random_images(1, 256, 256, 3)
    with tf.Graph().as_default():
        logits, end_points = network("alexnet_v2")(tf.constant(images))
        variables = {v.op.name.removeprefix("alexnet_v2/"): v for v in tf.compat.v1.global_variables()}
        dense = {name: variables[name] for name in variables if name.startswith("fc")}
        ours, features, weights = evaluated([logits, end_points["alexnet_v2/pool5"], dense])
    maps = []
    for top in (0, 1):
        for left in (0, 1):
            part = features[0, top : top + 5, left : left + 5].ravel()
            first = np.maximum(part @ weights["fc6/weights"].reshape(-1, 4096) + weights["fc6/biases"], 0)
            second = np.maximum(first @ weights["fc7/weights"][0, 0] + weights["fc7/biases"], 0)
            maps.append(second @ weights["fc8/weights"][0, 0] + weights["fc8/biases"])
    np.testing.assert_allclose(ours[0], np.mean(maps, axis=0), rtol=1e-3, atol=1e-3)


def test_images_that_are_too_small_are_refused_with_the_layer_that_sees_too_little():
    words = "the images are too small: vgg_a/fc6 looks at 7 x 7 values, of which 6 x 6 are left there"
    with tf.Graph().as_default(), pytest.raises(UsageError, match=words):
        network("vgg_a")(placeholder(200))


def test_auxiliary_logits_are_there_in_train_and_eval_alone_and_can_be_left_out():
    found = {}
    for mode in ("TRAIN", "EVAL", "PREDICT", "EXPORT"):
        with tf.Graph().as_default():
            _, end_points = network("inception_v3", run_mode=mode, depth_multiplier=0.1)(placeholder(139))
            aux = [v for v in tf.compat.v1.global_variables() if "/AuxLogits/" in v.op.name]
            found[mode] = ("AuxLogits" in end_points, bool(aux))
    assert found == {"TRAIN": (True,) * 2, "EVAL": (True,) * 2, "PREDICT": (False,) * 2, "EXPORT": (False,) * 2}
    with tf.Graph().as_default():
        _, end_points = network("inception_v3", create_aux_logits=False, depth_multiplier=0.1)(placeholder(75))
    assert "AuxLogits" not in end_points


def test_a_depth_multiplier_thins_all_layers_but_not_below_the_least_depth():
    with tf.Graph().as_default():
        network("inception_v2", depth_multiplier=0.25, min_depth=20)(placeholder(64))
        variables = {v.op.name.removeprefix("InceptionV2/"): v.shape.as_list() for v in tf.compat.v1.global_variables()}
    assert variables["Conv2d_1a_7x7/depthwise_weights"] == [7, 7, 3, 6]  # a third of the filters, 8 at most
    assert variables["Conv2d_1a_7x7/pointwise_weights"] == [1, 1, 18, 20]  # 64 / 4 is less than 20
    assert variables["Conv2d_2c_3x3/weights"] == [3, 3, 20, 48]
    assert variables["Logits/Conv2d_1c_1x1/weights"] == [1, 1, 88 + 80 + 56 + 32, 10]


def test_dropout_keeps_the_part_that_it_is_told_to_keep_in_training_alone():
    images = random_images(2, 32, 32, 3)
    for mode, keep_prob, close in (("TRAIN", 0.25, 0.05), ("TRAIN", 1.0, 0.0), ("EVAL", 0.25, 0.0)):
        with tf.Graph().as_default():
            _, end_points = network("lenet", run_mode=mode, dropout_keep_prob=keep_prob)(tf.constant(images))
            before, after = evaluated([end_points["fc3"], end_points["dropout3"]])
        kept = after[before > 0] / before[before > 0]
        expected = keep_prob if mode == "TRAIN" else 1.0
        np.testing.assert_allclose(np.mean(kept > 0), expected, atol=close)
        np.testing.assert_allclose(kept[kept > 0], 1 / expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("lenet", {"dropout_keep_prob": 0}, "dropout_keep_prob is 0, which must be a number above 0, and at most 1"),
        ("vgg_16", {"dropout_keep_prob": 1.5}, "dropout_keep_prob is 1.5, which must be a number above 0"),
        ("inception_v3", {"depth_multiplier": -1.0}, "depth_multiplier is -1.0, which must be a finite number above 0"),
        ("inception_v2", {"min_depth": 0.5}, "min_depth is 0.5, which must be a whole number of at least 1"),
        ("inception_v4", {"create_aux_logits": 1}, "create_aux_logits is 1, which must be True or False"),
        ("vgg_16", {"global_pool": "yes"}, "global_pool is 'yes', which must be True or False"),
        ("inception_v1", {"create_aux_logits": True}, "unknown option 'create_aux_logits' for network 'inception_v1'"),
    ],
)
def test_wrong_options_are_refused_by_name(name, options, words):
    with pytest.raises(UsageError, match=words):
        network(name, **options)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("inception_v1", lambda images: images / 255 * 2 - 1),
        ("lenet", lambda images: (images - 128) / 128),
        ("vgg_a", lambda images: images - np.array([123.68, 116.78, 103.94])),
        (
            "cifarnet",
            lambda images: (
                (images - images.mean(axis=(1, 2, 3), keepdims=True)) / images.std(axis=(1, 2, 3), keepdims=True)
            ),
        ),
    ],
)
@pytest.mark.parametrize("dtype", [tf.float32, tf.uint8, tf.float16])
def test_the_first_layer_gets_images_as_slim_prepares_them(name, expected, dtype):
    size = 224 if name == "vgg_a" else 32
    images = random_images(2, size, size, 3)
    with tf.Graph().as_default() as graph:
        network(name)(tf.cast(images, dtype))
        first = next(op for op in graph.get_operations() if op.type == "Conv2D").inputs[0]
        assert first.dtype == (tf.float16 if dtype == tf.float16 else tf.float32)
        with tf.compat.v1.Session() as session:
            seen = session.run(tf.cast(first, tf.float32))
    atol = 0.1 if dtype == tf.float16 and name == "vgg_a" else 2e-3 if dtype == tf.float16 else 1e-4
    np.testing.assert_allclose(seen, expected(images), atol=atol)


@pytest.mark.networks
def test_biases_decay_in_inception_resnet_alone_as_in_slim():
    counts = {}
    for name in ("vgg_a", "inception_resnet_v2"):
        with tf.Graph().as_default():
            network(name, weight_decay=1e-4, run_mode="PREDICT")(placeholder(224))
            variables = [v.op.name for v in tf.compat.v1.trainable_variables()]
            ends = [sum(v.endswith(end) for v in variables) for end in ("/weights", "/biases")]
            counts[name] = (*ends, len(tf.compat.v1.get_collection(KEYS.REGULARIZATION_LOSSES)))
    assert counts == {"vgg_a": (11, 11, 11), "inception_resnet_v2": (245, 41, 286)}
