"""Options of MobileNets, NASNets, ResNeXts and Xceptions, their end points, and images of all kinds."""

from functools import partial

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.errors import UsageError
from mox_core.networks.context import Context
from mox_core.networks.image_network import ImageNetwork
from mox_core.networks.layers import conv
from mox_slim_nets import mobilenet, nasnet, nasnet_cells, resnext, xception


def thin(**architecture):
    """A network of three thin cells, as fast as a test needs it."""
    return ImageNetwork(
        name="thin",
        build=partial(nasnet.nasnet_layers, nasnet.Architecture(cells=3, filters=4, stem_filters=6, **architecture)),
        preprocess=None,
        scope="",
        options={
            "use_aux_head": True,
            "drop_path_keep_prob": 0.5,
            "total_training_steps": 1,
            "dense_dropout_keep_prob": 0.5,
        },
        layer_end_points=False,
    )


LARGE = ("nasnet_mobile", "pnasnet_mobile", "xception_41")
THIN_NASNET = thin(
    normal=nasnet_cells.NASNET_NORMAL,
    reduction=nasnet_cells.NASNET_REDUCTION,
    imagenet=False,
    skips_reduction=False,
)
THIN_PNASNET = thin(normal=nasnet_cells.PNASNET, reduction=None)


def network(name, *, run_mode="PREDICT", num_classes=7, **options):
    return mox.get_model_fn(name, run_mode=run_mode, num_classes=num_classes, **options)


def placeholder(*shape, dtype=tf.float32):
    return tf.compat.v1.placeholder(dtype, shape)


def context_of(run_mode, data_format="NHWC"):
    return Context(
        run_mode=run_mode,
        num_classes=7,
        weight_decay=0.0,
        data_format=data_format,
        batch_norm_decay=0.9,
        batch_norm_epsilon=1e-3,
    )


def variables_of(name, images=(2, 64, 64, 3), **options):
    with tf.Graph().as_default():
        network(name, **options)(placeholder(*images))
        return {v.op.name: v.shape.as_list() for v in tf.compat.v1.global_variables()}


def test_a_depth_multiplier_makes_one_mobilenet_of_another():
    assert variables_of("mobilenet_v1", depth_multiplier=0.25) == variables_of("mobilenet_v1_025")
    finegrained = variables_of("mobilenet_v2", depth_multiplier=0.35, finegrain_classification_mode=True)
    assert finegrained == variables_of("mobilenet_v2_035")
    assert finegrained["MobilenetV2/Conv_1/weights"] == [1, 1, 112, 1280]
    thin = variables_of("mobilenet_v2", depth_multiplier=0.35)
    assert thin["MobilenetV2/Conv_1/weights"] == [1, 1, 112, 448]


def test_a_mobilenet_has_min_depth_filters_at_least():
    thin = variables_of("mobilenet_v1", depth_multiplier=0.01, min_depth=10)
    assert thin["MobilenetV1/Conv2d_0/weights"] == [3, 3, 3, 10]
    assert thin["MobilenetV1/Conv2d_13_pointwise/weights"] == [1, 1, 10, 10]  # 1024 / 100, rounded down


@pytest.mark.parametrize(
    ("number", "expected"),
    [(24.0, 24), (11.2, 16), (5.6, 8), (33.6, 32), (44.8, 48), (134.4, 136), (1792.0, 1792), (112.0, 112)],
)
def test_filters_are_rounded_to_eight_but_never_down_by_more_than_a_tenth(number, expected):
    assert mobilenet.divisible(number) == expected  # 11.2 is nearer to 8, which would lose 29%


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mobilenet_v1", {"depth_multiplier": 0}, "depth_multiplier is 0, which must be a finite number above 0"),
        (
            "mobilenet_v2",
            {"dropout_keep_prob": 1.5},
            "dropout_keep_prob is 1.5, which must be a number above 0, and at",
        ),
        ("mobilenet_v1", {"min_depth": 0}, "min_depth is 0, which must be a whole number of at least 1"),
        ("mobilenet_v1", {"finegrain_classification_mode": True}, "unknown option 'finegrain_classification_mode'"),
        ("nasnet_cifar", {"drop_path_keep_prob": 0.0}, "drop_path_keep_prob is 0.0, which must be a number above 0"),
        ("nasnet_cifar", {"total_training_steps": 0.5}, "total_training_steps is 0.5, which must be a whole number"),
        ("pnasnet_large", {"use_aux_head": 1}, "use_aux_head is 1, which must be True or False"),
        ("xception_65", {"keep_prob": None}, "keep_prob is None, which must be a number above 0"),
        ("resnext_c_50", {"groups": 2}, "unknown option 'groups' for network 'resnext_c_50'"),
    ],
)
def test_wrong_options_are_refused_by_name(name, options, words):
    with pytest.raises(UsageError, match=words):
        network(name, **options)


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v2_035", "resnext_c_50", *(pytest.param(name, marks=pytest.mark.networks) for name in LARGE)],
)
def test_an_exported_network_takes_images_of_any_size(name):
    with tf.Graph().as_default():
        logits, end_points = network(name, run_mode="EXPORT", data_format="NCHW")(placeholder(None, None, None, 3))
    assert logits.shape.as_list() == [None, 7]
    assert "AuxLogits" not in end_points


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(mobilenet.mobilenet_v2_035, id="mobilenet"),
        pytest.param(THIN_NASNET, id="nasnet"),
        pytest.param(THIN_PNASNET, id="pnasnet", marks=pytest.mark.networks),
        pytest.param(xception.xception_41, id="xception", marks=pytest.mark.networks),
    ],
)
def test_layers_can_be_laid_out_in_nchw(made):
    context = context_of("EVAL", data_format="NCHW")
    with tf.Graph().as_default():
        logits = made.build(placeholder(2, 3, 96, 130), context, **made.options)
        assert logits.shape.as_list() == [2, 7]
        names = {v.op.name for v in tf.compat.v1.global_variables()}
    with tf.Graph().as_default():
        made.build(placeholder(2, 96, 130, 3), context_of("EVAL"), **made.options)
        assert names == {v.op.name for v in tf.compat.v1.global_variables()}


@pytest.mark.parametrize("name", ["mobilenet_v2_035", "resnext_c_50"])
def test_half_precision_images_keep_statistics_in_float32(name):
    with tf.Graph().as_default():
        logits, _ = network(name, run_mode="TRAIN")(placeholder(2, 32, 32, 3, dtype=tf.bfloat16))
        assert logits.dtype == tf.bfloat16
        for variable in tf.compat.v1.global_variables():
            assert variable.dtype == (tf.float32 if "/BatchNorm/" in variable.op.name else tf.bfloat16)


def test_depthwise_kernels_have_no_weight_decay():
    with tf.Graph().as_default():
        network("mobilenet_v1_025", weight_decay=1e-3)(placeholder(2, 32, 32, 3))
        losses = tf.compat.v1.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES)
        assert len(losses) == 1 + 13 + 1


def test_end_points_of_mobilenets_have_slims_names():
    with tf.Graph().as_default():
        _, first = network("mobilenet_v1_025")(placeholder(2, 224, 224, 3))
        _, second = network("mobilenet_v2_035")(placeholder(2, 224, 224, 3))
    assert first["Conv2d_11_pointwise"].shape.as_list() == [2, 14, 14, 128]
    assert first["AvgPool_1a"].shape.as_list() == first["global_pool"].shape.as_list() == [2, 1, 1, 256]
    assert second["layer_19"].shape.as_list() == [2, 7, 7, 1280]
    assert second["layer_15/expansion_output"].shape.as_list() == [2, 14, 14, 192]
    assert second["layer_15/depthwise_output"].shape.as_list() == [2, 7, 7, 192]
    assert "layer_2/expansion_output" not in second
    assert first["Predictions"].shape.as_list() == second["Logits"].shape.as_list() == [2, 7]


@pytest.mark.networks
def test_auxiliary_logits_are_there_for_the_loss_and_can_be_left_out():
    def variables(run_mode, **options):
        with tf.Graph().as_default():
            _, end_points = THIN_PNASNET(run_mode=run_mode, num_classes=7, **options)(placeholder(2, 224, 224, 3))
            return {v.op.name: v.shape.as_list() for v in tf.compat.v1.global_variables()}, end_points

    plain, end_points = variables("PREDICT")
    assert "AuxLogits" not in end_points
    assert not any(name.startswith("aux") for name in plain)
    for run_mode in ("TRAIN", "EVAL"):
        found, end_points = variables(run_mode)
        assert end_points["AuxLogits"].shape.as_list() == [2, 7]
        # 224 -> 111 -> 56 -> 28 -> 14 pixels, of which 5 x 5 every 3 leave 4 x 4.
        assert found["aux_1/aux_logits/Conv/weights"] == [4, 4, 128, 768]
    without, end_points = variables("TRAIN", use_aux_head=False)
    assert without.keys() - {"global_step"} == plain.keys()
    assert "AuxLogits" not in end_points


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (None, "give image_height and image_width, or use_aux_head=False"),
        (66, "the images are too small: aux_1/aux_logits looks at 5 x 5 values, of which 4 x 4 are left there"),
    ],
)
def test_images_that_are_no_good_for_the_auxiliary_logits_are_refused(size, words):
    build = THIN_PNASNET(run_mode="TRAIN", num_classes=7)
    with tf.Graph().as_default(), pytest.raises(UsageError, match=words):
        build(placeholder(2, size, size, 3))
    with tf.Graph().as_default():
        build(placeholder(2, 67, 67, 3))


def test_a_cell_is_kept_less_often_the_later_it_is_and_the_longer_the_training():
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        step = tf.compat.v1.train.get_or_create_global_step()
        path = nasnet_cells.DropPath(keep_prob=0.6, total_steps=1000, cells=20)
        kept = [path.of_cell(cell) for cell in (0, 9, 19)]
        found = {}
        for value in (0, 500, 1000, 5000):
            step.load(value, session)
            found[value] = session.run(kept)
    # 1 - part of the steps * part of the cells * 0.4
    expected = {0: [1, 1, 1], 500: [0.99, 0.9, 0.8], 1000: [0.98, 0.8, 0.6], 5000: [0.98, 0.8, 0.6]}
    for value, numbers in expected.items():
        np.testing.assert_allclose(found[value], numbers, rtol=1e-6)
    assert nasnet_cells.DropPath(keep_prob=1.0, total_steps=1000, cells=20).of_cell(19) is None


def test_a_branch_is_dropped_for_an_image_as_a_whole_and_the_identity_never():
    cell = nasnet_cells.Cell(((nasnet_cells.Branch("max_pool", 1), nasnet_cells.Branch("identity", 1)),), outputs=(2,))
    images = np.random.default_rng(0).uniform(1, 2, (400, 3, 3, 2)).astype(np.float32)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.set_random_seed(3)
        state = nasnet_cells.State(tf.constant(images), level=0)
        output = nasnet_cells.add_cell(
            cell, state, state, context_of("EVAL"), filters=2, stride=1, keep_prob=tf.constant(0.75)
        )
        session.run(tf.compat.v1.global_variables_initializer())
        branches = session.run(output.net) - images
    largest = np.stack(
        [images[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max((1, 2)) for i in range(3) for j in range(3)], 1
    )
    kept = np.abs(branches).max((1, 2, 3)) > 0.1
    np.testing.assert_allclose(branches[kept].reshape(-1, 9, 2), largest[kept] / 0.75, rtol=1e-5)
    np.testing.assert_allclose(branches[~kept], 0, atol=1e-6)
    assert 0.68 < kept.mean() < 0.82  # three standard deviations: 0.065


def run_thin_nasnet(run_mode, log_dir, checkpoint=None):
    """One step of a NASNet of three thin cells, with dropped branches and auxiliary logits."""
    images = np.random.default_rng(0).normal(size=(4, 20, 20, 3)).astype(np.float32)

    def input_fn(mode):
        del mode
        return tf.data.Dataset.from_tensors((images, np.arange(4) % 2))

    def model_fn(inputs, mode):
        logits, end_points = THIN_NASNET(run_mode=mode, num_classes=2)(inputs[0])
        losses = [
            tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=inputs[1], logits=net))
            for net in (logits, end_points["AuxLogits"])
        ]
        return mox.ModelSpec(loss=losses[0] + 0.4 * losses[1], log_info={"loss": losses[0], "aux": losses[1]})

    tf.random.set_seed(3)
    return mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.01),
        run_mode=run_mode,
        batch_size=None,
        max_number_of_steps=1,
        log_dir=log_dir,
        checkpoint_path=checkpoint,
    )


@pytest.mark.networks
def test_a_nasnet_trains_with_dropped_branches_and_evaluates_with_all(tmp_path):
    trained = run_thin_nasnet("TRAIN", tmp_path / "log")
    evaluated = [run_thin_nasnet("EVAL", None, trained.checkpoint).metrics for _ in range(2)]
    assert evaluated[0] == evaluated[1]
    assert np.isfinite([*trained.metrics.values(), *evaluated[0].values()]).all()
    names = set(tf.train.load_checkpoint(str(trained.checkpoint)).get_variable_to_shape_map())
    assert {"cell_0/beginning_bn/gamma", "aux_1/aux_logits/FC/weights", "final_layer/FC/biases"} <= names


def plain_grouped(images, kernel, groups, stride):
    """A grouped 3x3 convolution by loops, padded with one zero on all sides."""
    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)])
    depth, filters = images.shape[3] // groups, kernel.shape[3] // groups
    height, width = ((side - 1) // stride + 1 for side in images.shape[1:3])
    result = np.zeros((len(images), height, width, kernel.shape[3]))
    for group in range(groups):
        inputs, outputs = slice(group * depth, (group + 1) * depth), slice(group * filters, (group + 1) * filters)
        for i in range(height):
            for j in range(width):
                window = padded[:, i * stride : i * stride + 3, j * stride : j * stride + 3, inputs]
                result[:, i, j, outputs] = np.tensordot(window, kernel[..., outputs], 3)
    return result


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("run_mode", "one_by_one"), [("EVAL", False), ("EVAL", True), ("TRAIN", False)])
def test_groups_of_channels_have_filters_of_their_own(run_mode, one_by_one, stride):
    images = np.random.default_rng(0).normal(size=(2, 5, 6, 6)).astype(np.float32)
    with tf.Graph().as_default() as graph, tf.compat.v1.Session() as session:
        options = {"normalize": False, "activation": None, "groups": 3, "one_by_one": one_by_one}
        net = conv(
            tf.constant(images), context_of(run_mode), filters=12, size=3, stride=stride, scope="conv", **options
        )
        kernel = tf.compat.v1.global_variables()[0]
        gradient = tf.gradients(net, kernel)[0] if run_mode == "TRAIN" else tf.zeros([3, 3, 2, 12])
        session.run(tf.compat.v1.global_variables_initializer())
        found, values, slope = session.run([net, kernel, gradient])
        assert len([op for op in graph.get_operations() if op.type == "Conv2D"]) == (
            1 if run_mode == "EVAL" and not one_by_one else 3
        )
    assert values.shape == slope.shape == (3, 3, 2, 12)
    np.testing.assert_allclose(found, plain_grouped(images, values, 3, stride), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["b", "c"])
def test_a_resnext_has_the_units_of_its_paper(form):
    with tf.Graph().as_default() as graph:
        _, end_points = getattr(resnext, f"resnext_{form}_50")(run_mode="EVAL", num_classes=7)(
            placeholder(2, 224, 224, 3)
        )
        sizes = [end_points[f"resnext_{form}_50/block{n}"].shape.as_list()[1:] for n in (1, 2, 3, 4)]
        convolutions = len([op for op in graph.get_operations() if op.type == "Conv2D"])
    assert sizes == [[56, 56, 256], [28, 28, 512], [14, 14, 1024], [7, 7, 2048]]
    # conv1, logits, 4 projections, 16 units of a 1x1, the 3x3 of 32 paths or of one group of them, and a 1x1
    assert convolutions == 2 + 4 + 16 * (2 + (32 if form == "b" else 1))
