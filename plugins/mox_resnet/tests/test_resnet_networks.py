"""The networks, built on graphs and trained as traced functions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.networks import layers
from mox_core.networks.context import Context
from mox_resnet import networks

KEYS = tf.compat.v1.GraphKeys

# Trainable parameters, those with the averages of batch normalization, and variables, with 1000 classes; TF-slim's.
SLIM = {
    "resnet_v1_50": (25_557_032, 25_610_152, 267),
    "resnet_v1_101": (44_549_160, 44_654_504, 522),
    "resnet_v1_152": (60_192_808, 60_344_232, 777),
    "resnet_v1_200": (64_673_832, 64_849_832, 1017),
    "resnet_v2_50": (25_568_360, 25_613_800, 272),
    "resnet_v2_101": (44_577_896, 44_675_560, 544),
    "resnet_v2_152": (60_236_904, 60_380_648, 816),
    "resnet_v2_200": (64_726_120, 64_894_440, 1072),
}


def network(name="resnet_v1_20", *, run_mode="TRAIN", num_classes=10, **options):
    return getattr(networks, name)(run_mode=run_mode, num_classes=num_classes, **options)


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def parameters(variables):
    return sum(variable.shape.num_elements() for variable in variables)


def evaluated(tensors):
    with tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(7)
        session.run(tf.compat.v1.global_variables_initializer())
        return session.run(tensors)


@pytest.mark.parametrize("name", SLIM)
def test_parameters_and_variables_are_as_many_as_slims(name):
    with tf.Graph().as_default():
        logits, _ = network(name, run_mode="PREDICT", num_classes=1000)(
            tf.compat.v1.placeholder(tf.uint8, [None, 224, 224, 3])
        )
        trainable, everything = tf.compat.v1.trainable_variables(), tf.compat.v1.global_variables()
        assert (parameters(trainable), parameters(everything), len(everything)) == SLIM[name]
        assert logits.shape.as_list() == [None, 1000]


def basic_parameters(units, depths, *, root, classes, projections):
    """Kernels and two parameters of batch normalization a filter, from the layer tables of the paper."""

    def layer(size, depth_in, depth):
        return size * size * depth_in * depth + 2 * depth

    total, depth_in = layer(root, 3, depths[0]), depths[0]
    for number, depth in zip(units, depths, strict=True):
        total += layer(3, depth_in, depth) + (2 * number - 1) * layer(3, depth, depth)
        if projections and depth != depth_in:
            total += layer(1, depth_in, depth)
        depth_in = depth
    return total + depth_in * classes + classes


@pytest.mark.parametrize(
    ("name", "classes", "expected", "units", "depths"),
    [
        ("resnet_v1_18", 1000, 11_689_512, (2, 2, 2, 2), (64, 128, 256, 512)),
        ("resnet_v1_34", 1000, 21_797_672, (3, 4, 6, 3), (64, 128, 256, 512)),
        ("resnet_v1_20", 10, 269_722, (3, 3, 3), (16, 32, 64)),  # 0.27M in table 6
        ("resnet_v1_110", 10, 1_727_962, (18, 18, 18), (16, 32, 64)),  # 1.7M in table 6
    ],
)
def test_parameters_of_two_layer_units_are_those_of_the_paper(name, classes, expected, units, depths):
    imagenet = classes == 1000
    root = 7 if imagenet else 3
    assert expected == basic_parameters(units, depths, root=root, classes=classes, projections=imagenet)
    with tf.Graph().as_default():
        network(name, run_mode="PREDICT", num_classes=classes)(tf.compat.v1.placeholder(tf.float32, [2, 32, 32, 3]))
        assert parameters(tf.compat.v1.trainable_variables()) == expected


def keras_layer(net, weights, scope, filters, size, stride, *, relu):
    """Convolution and batch normalization of Keras, with our weights."""
    net = keras.layers.ZeroPadding2D((size - 1) // 2)(net)
    convolution = keras.layers.Conv2D(filters, size, strides=stride, use_bias=False)
    normalization = keras.layers.BatchNormalization(epsilon=1e-5)
    net = normalization(convolution(net))
    convolution.set_weights([weights[f"{scope}/weights"]])
    parts = ("gamma", "beta", "moving_mean", "moving_variance")
    normalization.set_weights([weights[f"{scope}/BatchNorm/{part}"] for part in parts])
    return keras.layers.ReLU()(net) if relu else net


def keras_resnet(name, weights, images):
    """He et al. 2015 in Keras: 18 layers with projections behind a 7x7 root, or 20 with padded shortcuts."""
    cifar = name == "resnet_v1_20"
    inputs = keras.Input(images.shape[1:])
    depth = 16 if cifar else 64
    net = keras_layer(inputs, weights, f"{name}/conv1", depth, 3 if cifar else 7, 1 if cifar else 2, relu=True)
    if not cifar:
        net = keras.layers.MaxPooling2D(3, 2, padding="same")(net)
    for block in range(3 if cifar else 4):
        for unit in range(3 if cifar else 2):
            scope = f"{name}/block{block + 1}/unit_{unit + 1}/basic_v1"
            stride = 2 if block and not unit else 1
            filters = depth * 2**block
            shortcut = net
            if stride == 2 and cifar:
                kernel = np.eye(filters // 2, filters, dtype=np.float32)[np.newaxis, np.newaxis]
                identity = keras.layers.Conv2D(filters, 1, strides=2, use_bias=False)
                shortcut = identity(net)
                identity.set_weights([kernel])
            elif stride == 2:
                shortcut = keras_layer(net, weights, f"{scope}/shortcut", filters, 1, 2, relu=False)
            net = keras_layer(net, weights, f"{scope}/conv1", filters, 3, stride, relu=True)
            net = keras_layer(net, weights, f"{scope}/conv2", filters, 3, 1, relu=False)
            net = keras.layers.ReLU()(net + shortcut)
    net = keras.layers.GlobalAveragePooling2D()(net)
    model = keras.Model(inputs, net)
    return model(images).numpy() @ weights[f"{name}/logits/weights"][0, 0] + weights[f"{name}/logits/biases"]


@pytest.mark.parametrize(("name", "size"), [("resnet_v1_18", 64), ("resnet_v1_20", 28)])
def test_two_layer_units_compute_what_the_same_network_in_keras_does(name, size):
    images = np.random.default_rng(3).normal(0, 60, (2, size, size, 3)).astype(np.float32)
    with tf.Graph().as_default():
        logits, _ = network(name, run_mode="EVAL", preprocess_fn=None)(tf.constant(images))
        variables = {v.op.name: v for v in tf.compat.v1.global_variables()}
        ours, weights = evaluated([logits, variables])
    np.testing.assert_allclose(ours, keras_resnet(name, weights, images), rtol=1e-4, atol=1e-4)


def trained(steps, *, images, labels, **options):
    """Train on one batch; return the losses, the logits in EVAL, and the moving mean of the first layer."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(5)
        logits, _ = network(run_mode="TRAIN", **options)(images)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        variables = tf.compat.v1.trainable_variables()
        gradients = zip(variables, tf.gradients(loss, variables), strict=True)
        updates = [variable.assign_sub(0.05 * gradient, read_value=False) for variable, gradient in gradients]
        updates += tf.compat.v1.get_collection(KEYS.UPDATE_OPS)
        with tf.compat.v1.variable_scope(tf.compat.v1.get_variable_scope(), reuse=True):
            evaluated_logits, _ = network(run_mode="EVAL", **options)(images)
            moving_mean = tf.compat.v1.get_variable("resnet_v1_20/conv1/BatchNorm/moving_mean", [16])
        session.run(tf.compat.v1.global_variables_initializer())
        losses = [session.run([loss, updates])[0] for _ in range(steps)]
        return losses, *session.run([evaluated_logits, moving_mean])


@pytest.mark.parametrize("shape", [(8, 28, 28, 3), (4, 32, 20, 3)])
def test_training_lowers_the_loss_and_moves_the_averages(shape):
    losses, logits, moving_mean = trained(4, images=random_images(*shape), labels=list(range(shape[0])))
    assert losses[-1] < losses[0]
    assert logits.shape == (shape[0], 10)
    assert np.all(moving_mean != 0)


def test_nchw_on_a_cpu_trains_and_evaluates_to_the_same_numbers_as_nhwc():
    images, labels = random_images(4, 20, 20, 3), [0, 1, 2, 3]
    nchw = trained(2, images=images, labels=labels, data_format="NCHW")
    nhwc = trained(2, images=images, labels=labels, data_format="NHWC")
    for ours, theirs in zip(nchw, nhwc, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("run_mode", ["TRAIN", "EXPORT"])
def test_end_points_have_the_layout_that_was_asked_for(run_mode):
    with tf.Graph().as_default():
        images = tf.compat.v1.placeholder(tf.uint8, [None, 64, 96, 3])
        logits, end_points = network("resnet_v1_18", run_mode=run_mode, data_format="NCHW", num_classes=5)(images)
        assert end_points["resnet_v1_18/block2"].shape.as_list() == [None, 128, 8, 12]
        assert end_points["global_pool"].shape.as_list() == [None, 512, 1, 1]
        assert end_points["resnet_v1_18/logits"].shape.as_list() == [None, 5, 1, 1]
        assert end_points["resnet_v1_18/spatial_squeeze"] is logits
        assert logits.shape.as_list() == end_points["predictions"].shape.as_list() == [None, 5]


def test_predictions_are_the_softmax_of_the_logits():
    with tf.Graph().as_default():
        logits, end_points = network(run_mode="PREDICT")(random_images(3, 32, 32, 3))
        logits, predictions = evaluated([logits, end_points["predictions"]])
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(predictions, powers / powers.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-30)


def test_one_step_moves_the_averages_by_three_thousandths_towards_the_batch():
    net = np.random.default_rng(1).normal(5, 3, (6, 4, 5, 2)).astype(np.float32)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        context = Context(
            run_mode="TRAIN",
            num_classes=2,
            weight_decay=0.0,
            batch_norm_decay=0.997,
            batch_norm_epsilon=1e-5,
            data_format="NHWC",
        )
        output = layers.batch_norm(tf.constant(net), context, scope="BatchNorm")
        session.run(tf.compat.v1.global_variables_initializer())
        normalized, _ = session.run([output, tf.compat.v1.get_collection(KEYS.UPDATE_OPS)])
        averages = session.run({v.op.name: v for v in tf.compat.v1.global_variables() if "moving" in v.op.name})
    mean, variance = net.mean(axis=(0, 1, 2)), net.var(axis=(0, 1, 2))
    np.testing.assert_allclose(normalized, (net - mean) / np.sqrt(variance + 1e-5), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(averages["BatchNorm/moving_mean"], 0.003 * mean, rtol=1e-4)
    unbiased = variance * 120 / 119  # as the fused kernel has it, and so slim
    np.testing.assert_allclose(averages["BatchNorm/moving_variance"], 0.997 + 0.003 * unbiased, rtol=1e-5)


@pytest.mark.parametrize("run_mode", ["EVAL", "PREDICT", "EXPORT"])
def test_only_training_updates_the_averages(run_mode):
    with tf.Graph().as_default():
        network(run_mode=run_mode)(random_images(2, 32, 32, 3))
        assert not tf.compat.v1.get_collection(KEYS.UPDATE_OPS)
        network(run_mode="TRAIN", num_classes=10)  # builds nothing before it is called
        assert not tf.compat.v1.get_collection(KEYS.UPDATE_OPS)


def test_weight_decay_is_the_l2_loss_of_every_kernel_and_of_nothing_else():
    with tf.Graph().as_default():
        network(weight_decay=0.25)(random_images(2, 32, 32, 3))
        losses = tf.compat.v1.get_collection(KEYS.REGULARIZATION_LOSSES)
        kernels = [v for v in tf.compat.v1.trainable_variables() if v.op.name.endswith("/weights")]
        losses, kernels = evaluated([losses, kernels])
    assert len(losses) == 20
    np.testing.assert_allclose(losses, [0.25 * np.sum(kernel**2) / 2 for kernel in kernels], rtol=1e-5)


def test_no_weight_decay_adds_no_regularization_losses():
    with tf.Graph().as_default():
        network()(random_images(2, 32, 32, 3))
        assert not tf.compat.v1.get_collection(KEYS.REGULARIZATION_LOSSES)


def test_a_reused_scope_shares_variables_and_counts_their_regularization_once():
    with tf.Graph().as_default():
        build = network("resnet_v1_50", weight_decay=1e-4)
        scope = tf.compat.v1.get_variable_scope()
        with tf.compat.v1.variable_scope(scope, reuse=tf.compat.v1.AUTO_REUSE):
            build(tf.compat.v1.placeholder(tf.float32, [2, 32, 32, 3]))
            build(tf.compat.v1.placeholder(tf.float32, [4, 48, 48, 3]))
        assert len(tf.compat.v1.global_variables()) == 267
        assert len(tf.compat.v1.get_collection(KEYS.REGULARIZATION_LOSSES)) == 54


def test_an_outer_scope_stands_before_the_names_of_variables_and_end_points():
    with tf.Graph().as_default(), tf.compat.v1.variable_scope("tower"):
        _, end_points = network()(random_images(2, 32, 32, 3))
        assert all(v.op.name.startswith("tower/resnet_v1_20/") for v in tf.compat.v1.global_variables())
        assert {"tower/resnet_v1_20/block3", "tower/resnet_v1_20/logits", "predictions"} <= end_points.keys()


def test_kernels_start_with_twice_the_inverse_of_their_inputs_as_variance():
    with tf.Graph().as_default():
        network("resnet_v1_18")(tf.compat.v1.placeholder(tf.float32, [2, 64, 64, 3]))
        variables = {v.op.name: v for v in tf.compat.v1.global_variables()}
        kernel = evaluated(variables["resnet_v1_18/block4/unit_2/basic_v1/conv2/weights"])
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 512)), rel=0.01)
    assert abs(kernel.mean()) < 1e-4


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_images_keep_statistics_in_float32(dtype):
    with tf.Graph().as_default():
        images = tf.cast(random_images(4, 32, 32, 3), dtype)
        logits, _ = network(weight_decay=1e-4)(images)
        assert logits.dtype == dtype
        for variable in tf.compat.v1.global_variables():
            assert variable.dtype == (tf.float32 if "/BatchNorm/" in variable.op.name else dtype)
        losses = tf.compat.v1.get_collection(KEYS.REGULARIZATION_LOSSES)
        assert {loss.dtype for loss in losses} == {dtype}
        assert np.isfinite(evaluated(tf.cast(logits, tf.float32))).all()


def seen_by_the_network(images, name="resnet_v1_50", **options):
    """What the first layer gets: the input of its convolution."""
    with tf.Graph().as_default() as graph:
        network(name, run_mode="EVAL", **options)(images)
        first = next(op for op in graph.get_operations() if op.type == "Conv2D")
        return evaluated(first.inputs[0])


def test_imagenet_networks_subtract_the_mean_colour():
    images = random_images(2, 32, 40, 3)
    expected = images - np.array([123.68, 116.78, 103.94])
    np.testing.assert_allclose(seen_by_the_network(images), expected, atol=1e-4)
    np.testing.assert_allclose(seen_by_the_network(images.astype(np.float64)), expected, atol=1e-4)


def test_cifar_networks_standardize_each_image():
    images = random_images(2, 32, 40, 3)
    expected = (images - images.mean(axis=(1, 2, 3), keepdims=True)) / images.std(axis=(1, 2, 3), keepdims=True)
    np.testing.assert_allclose(seen_by_the_network(images, "resnet_v1_20"), expected, atol=1e-4)


def test_preprocessing_can_be_left_out_or_replaced():
    images = random_images(2, 32, 40, 3)
    np.testing.assert_array_equal(seen_by_the_network(images, preprocess_fn=None), images)
    modes = []

    def halve(batch, run_mode):
        modes.append(run_mode)
        return batch // 2

    np.testing.assert_array_equal(seen_by_the_network(images, preprocess_fn=halve), images // 2)
    assert modes == ["EVAL"]


def test_grey_images_need_no_colour_where_nothing_is_subtracted():
    with tf.Graph().as_default():
        logits, _ = network("resnet_v1_20")(random_images(2, 28, 28, 1))
        assert logits.shape.as_list() == [2, 10]


def test_image_height_and_width_complete_an_unknown_shape():
    with tf.Graph().as_default():
        images = tf.compat.v1.placeholder(tf.uint8)
        _, end_points = network("resnet_v1_18", image_height=64, image_width=96)(images)
        assert end_points["resnet_v1_18/block1"].shape.as_list() == [None, 16, 24, 64]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"official": 1, "depth": 2}, "unknown option 'depth' for network 'resnet_v1_20'"),
        ({"num_classes": 0}, "num_classes is 0, which must be a whole number of at least 1"),
        ({"num_classes": None}, "num_classes is None, which must be a whole number of at least 1"),
        ({"num_classes": True}, "num_classes is True, which must be a whole number of at least 1"),
        ({"weight_decay": -1e-4}, "weight_decay is -0.0001, which must be a finite number of at least 0"),
        ({"data_format": "NWHC"}, "data_format is 'NWHC', which must be 'NHWC' or 'NCHW'"),
        ({"run_mode": "train"}, "run_mode is 'train', which must be one of 'TRAIN', 'EVAL', 'PREDICT', 'EXPORT'"),
        ({"batch_renorm": True}, "batch_renorm=True is not supported by network 'resnet_v1_20'"),
        ({"preprocess_fn": 3}, "preprocess_fn is 3, which must be a function"),
        ({"image_width": "64"}, "image_width is '64', which must be a whole number of at least 1"),
    ],
)
def test_wrong_options_are_refused_by_name(options, words):
    with pytest.raises(UsageError, match=words):
        network(**options)


@pytest.mark.parametrize(
    ("images", "options", "words"),
    [
        (tf.zeros([2, 3, 32, 32]), {}, r"shape \(2, 3, 32, 32\), with channels in front: give them as \[batch, height"),
        (tf.zeros([32, 32, 3]), {}, r"shape \(32, 32, 3\), which must be \[batch, height, width, channels\]"),
        (tf.zeros([1, 32, 32, 3], tf.bool), {}, "dtype 'bool', which must be an integer or float type"),
        (tf.constant([[[["a"]]]]), {}, "dtype 'string', which must be an integer or float type"),
        (tf.zeros([1, 32, 32, 3]), {"image_height": 64}, r"\(1, 32, 32, 3\), but image_height=64 and image_width=None"),
    ],
)
def test_wrong_images_are_refused(images, options, words):
    with tf.Graph().as_default(), pytest.raises(UsageError, match=words):
        network(**options)(images.numpy())


def test_grey_images_are_refused_where_a_mean_colour_is_subtracted():
    with tf.Graph().as_default(), pytest.raises(UsageError, match="images have 1 channels, but the mean colour"):
        network("resnet_v1_50")(random_images(1, 32, 32, 1))
