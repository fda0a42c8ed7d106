"""What the networks take besides images: options, types, sizes; what they give besides logits."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_applications import networks, preprocessing
from mox_core.errors import UsageError

KEYS = tf.compat.v1.GraphKeys
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.float32)
SMALL = {"alpha": 0.25}


@pytest.fixture
def trained(tmp_path):
    """Train a network for a step; return what it has given, and its variables by name with those of before."""

    def train(name, images=IMAGES, *, before=None, **options):
        seen = {}

        def model_fn(inputs, mode):
            if before:
                before()
            logits, end_points = mox.get_model_fn(name, run_mode=mode, num_classes=3, **options)(inputs[0])
            losses = mox.get_collection(KEYS.REGULARIZATION_LOSSES)
            seen.update(logits=logits, end_points=end_points, losses=losses)
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(inputs[1], tf.cast(logits, tf.float32))
            values = {f"loss_{number}": tf.cast(loss, tf.float32) for number, loss in enumerate(losses)}
            values["pool"] = tf.reduce_sum(tf.cast(end_points["global_pool"], tf.float32))
            return mox.ModelSpec(loss=tf.reduce_mean(entropy), log_info=values)

        result = mox.run(
            input_fn=lambda mode: tf.data.Dataset.from_tensors((images, [0, 1, 2, 0])).repeat(),  # noqa: ARG005
            model_fn=model_fn,
            optimizer_fn=mox.get_optimizer_fn("sgd", learning_rate=0.01),
            run_mode=mox.ModeKeys.TRAIN,
            batch_size=None,
            max_number_of_steps=1,
            log_dir=str(tmp_path),
        )
        readers = [tf.train.load_checkpoint(str(tmp_path / f"model.ckpt-{step}")) for step in (0, 1)]
        names = [
            name
            for name in readers[0].get_variable_to_shape_map()
            if not name.startswith(("mox/", "global_step")) and "seed_generator" not in name
        ]
        return result, seen, {name: [reader.get_tensor(name) for reader in readers] for name in names}

    return train


def test_weight_decay_is_the_loss_of_each_kernel_but_those_of_one_channel(trained):
    result, seen, variables = trained("mobilenet", weight_decay=0.5, **SMALL)
    kernels = [name for name in variables if name.endswith("/kernel") and "_dw_" not in name]
    assert len(kernels) == 1 + 13 + 1  # the first convolution, 13 of one pixel, the logits
    assert not any(loss.dtype != tf.float32 for loss in seen["losses"])
    expected = sorted(0.5 * np.sum(np.square(variables[name][0], dtype=np.float64)) / 2 for name in kernels)
    found = sorted(value for name, value in result.metrics.items() if name.startswith("loss_"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [tf.float16, pytest.param(tf.bfloat16, marks=pytest.mark.networks)])
def test_half_precision_images_are_computed_so_and_weights_stay_in_float32(trained, dtype):
    policy = keras.config.dtype_policy()
    _, seen, variables = trained("mobilenet", tf.cast(IMAGES, dtype), weight_decay=1e-4, **SMALL)
    assert {seen["logits"].dtype, *(each.dtype for each in seen["end_points"].values())} == {dtype}
    assert {loss.dtype for loss in seen["losses"]} == {dtype}
    assert {value.dtype for values in variables.values() for value in values} == {np.dtype(np.float32)}
    assert all(np.isfinite(after).all() for _, after in variables.values())
    assert any(not np.array_equal(*values) for name, values in variables.items() if name.endswith("kernel"))
    assert keras.config.dtype_policy() is policy


def test_end_points_are_layers_and_blocks_and_in_the_layout_that_was_asked_for(trained):
    layers = keras.layers

    def before():
        layers.Conv2D(2, 1)(tf.zeros([1, 4, 4, 1]))

    _, seen, variables = trained("mobilenet_v3_small", before=before, data_format="NCHW", minimalistic=True)
    shapes = {name: each.shape.as_list() for name, each in seen["end_points"].items()}
    assert shapes["conv_bn"] == [4, 16, 16, 16]
    # Table 2 of arXiv 1905.02244: 24 channels at a 1/8, 96 at a 1/32 of the size.
    assert shapes["expanded_conv_2"] == [4, 24, 4, 4]
    assert shapes["expanded_conv_10"] == [4, 96, 1, 1]
    assert shapes["global_pool"] == [4, 576, 1, 1]
    assert shapes["logits"] == shapes["predictions"] == [4, 3]
    assert {"conv2d/kernel", "conv/kernel", "logits/bias"} <= variables.keys()


def _built(name, images=IMAGES, *, training=True, **options):
    mode = mox.ModeKeys.TRAIN if training else mox.ModeKeys.EVAL
    return getattr(networks, name)(run_mode=mode, num_classes=3, **options)(images)


def test_a_model_keeps_the_rates_that_it_is_given():
    from mox_applications.options import apply_rates

    model = keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3))
    apply_rates(model, {"dropout_rate": 0.0, "drop_connect_rate": 0.4}, training=True)
    rates = {each.name: each.rate for each in model.layers if isinstance(each, keras.layers.Dropout)}
    assert rates["top_dropout"] == 0.0
    # Blocks of table 1 of arXiv 1905.11946: 16 in all, and block 7a is the last of them.
    assert rates["block6d_drop"] == pytest.approx(0.4 * 14 / 16)
    assert rates["block2b_drop"] == pytest.approx(0.4 * 2 / 16)


def test_the_way_through_a_block_is_dropped_for_some_samples_and_made_up_for_in_others():
    from mox_applications.options import _dropped_path

    tf.random.set_seed(1)
    dropped = _dropped_path(tf.ones([4000, 2, 2, 3]), rate=0.25).numpy()
    assert np.unique(dropped).tolist() == pytest.approx([0.0, 1 / 0.75])
    assert np.ptp(dropped, axis=(1, 2, 3)).max() == 0.0
    assert dropped.mean() == pytest.approx(1.0, abs=0.05)
    np.testing.assert_array_equal(_dropped_path(tf.ones([2, 1, 1, 1]), rate=0.0), np.ones([2, 1, 1, 1]))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mobilenet", {"alpha": 0}, "alpha is 0, which must be a finite number above 0"),
        ("mobilenet", {"dropout": 1.0}, "dropout is 1.0, which must be a number of at least 0, and below 1"),
        ("mobilenet_v3_small", {"minimalistic": 1}, "minimalistic is 1, which must be True or False"),
        ("densenet_121", {"dropout_rate": 0.1}, "unknown option 'dropout_rate' for network 'densenet_121'"),
        ("vgg_16", {"batch_renorm": True}, "batch_renorm=True is not supported"),
    ],
)
def test_wrong_options_are_refused_by_name(name, options, words):
    with pytest.raises(UsageError, match=words):
        _built(name, **options)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("xception", [1, 64, 80, 3], "must be of at least 71 x 71 pixels"),
        ("resnet_50", [1, 32, 32, 1], "images have 1 channels, but the mean colours of ImageNet are 3"),
        ("convnext_tiny", [1, 32, 32, 4], "images have 4 channels"),
    ],
)
def test_images_that_a_network_cannot_take_are_refused(name, shape, words):
    with pytest.raises(UsageError, match=words):
        _built(name, np.zeros(shape, np.float32))


def test_images_of_unknown_size_are_refused_with_the_way_out():
    def build():
        with pytest.raises(
            UsageError, match=r"give image_height and image_width, or resize the images to \[240, 240\]"
        ):
            _built("efficientnet_b1", tf.compat.v1.placeholder(tf.float32, [2, None, None, 3]))

    tf.compat.v1.wrap_function(build, [])


def test_preprocessing_is_that_of_keras():
    images = IMAGES.astype(np.uint8)
    red, green, blue = (IMAGES[..., colour] for colour in range(3))
    expected = {
        "center": IMAGES / 127.5 - 1,
        "center_by_128": IMAGES / 128 - 1,
        "scale_to_one": IMAGES / 255,
        "standardize": (IMAGES / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        "standardize_or_center": (IMAGES / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        "subtract_means_of_bgr": np.stack([blue - 103.939, green - 116.779, red - 123.68], axis=-1),
    }
    for name, values in expected.items():
        prepared = getattr(preprocessing, name)(tf.constant(images), "EVAL")
        np.testing.assert_allclose(prepared, values, atol=1e-4, err_msg=name)
        assert getattr(preprocessing, name)(tf.cast(images, tf.float16), "EVAL").dtype == tf.float16
    np.testing.assert_allclose(
        preprocessing.standardize_or_center(tf.constant(images[..., :1]), "EVAL"), IMAGES[..., :1] / 128 - 1
    )


def test_efficientnet_gives_the_predictions_of_its_published_normalization():
    """Published weights have deviations in the place of variances; expected are mean and deviation of ImageNet."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    model = keras.applications.EfficientNetB0(weights=None, input_shape=(32, 32, 3))
    normalization = model.get_layer(index=2)
    for variance, expected in ((deviation, (IMAGES / 255 - mean) / deviation), (np.ones(3), IMAGES / 255 - mean)):
        normalization.set_weights([mean, variance, np.int32(0)])
        normalization.finalize_state()
        found = networks._normalized(model, tf.constant(IMAGES / 255))
        np.testing.assert_allclose(found, expected, atol=1e-5)
