"""In which type and layout networks compute, and what they hand out."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

KEYS = tf.compat.v1.GraphKeys


def network(name, *, run_mode="EVAL", **options):
    return mox.get_model_fn(name, run_mode=run_mode, num_classes=10, **options)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16], ids=lambda dtype: dtype.name)
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("lenet", 28),
        ("cifarnet", 32),
        ("inception_v1", 32),
        pytest.param("inception_v3", 107, marks=pytest.mark.networks),
    ],
)
def test_half_precision_images_are_computed_in_it_with_statistics_in_float32(name, size, dtype):
    thin = {"depth_multiplier": 0.1, "min_depth": 4} if name == "inception_v3" else {}
    with tf.Graph().as_default():
        images = tf.cast(np.random.default_rng(0).integers(0, 256, (2, size, size, 3)), dtype)
        logits, end_points = network(name, run_mode="TRAIN", weight_decay=1e-4, **thin)(images)
        assert {value.dtype for value in end_points.values()} == {dtype}
        for variable in tf.compat.v1.global_variables():
            assert variable.dtype == (tf.float32 if "/BatchNorm/" in variable.op.name else dtype), variable.op.name
        assert {loss.dtype for loss in tf.compat.v1.get_collection(KEYS.REGULARIZATION_LOSSES)} == {dtype}
        with tf.compat.v1.Session() as session:
            session.run(tf.compat.v1.global_variables_initializer())
            assert np.isfinite(session.run(tf.cast(logits, tf.float32))).all()


def test_end_points_are_in_the_layout_asked_for():
    shapes = {}
    for data_format in ("NHWC", "NCHW"):
        with tf.Graph().as_default():
            images = tf.compat.v1.placeholder(tf.float32, [None, 107, 107, 3])
            _, end_points = network("inception_v3", data_format=data_format, depth_multiplier=0.1)(images)
        shapes[data_format] = {key: value.shape.as_list() for key, value in end_points.items()}
    for key, shape in shapes["NHWC"].items():
        assert shapes["NCHW"][key] == ([shape[0], shape[3], *shape[1:3]] if len(shape) == 4 else shape)
    assert shapes["NHWC"]["AuxLogits"] == [None, 10]
