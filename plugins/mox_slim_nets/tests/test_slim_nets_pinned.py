"""MobileNets, NASNets and Xceptions against slim's and DeepLab's own code, by what that gave once.

tf_slim has no such networks, so the numbers here were taken from research/slim/nets and research/deeplab/core of
tensorflow/models of August 2019, run with tf_slim on TensorFlow 2.21. `mox_slim_nets` has no part in them.
"""

import hashlib
import zlib

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

# With 1000 classes: the trainable parameters, all parameters, the variables, and the first digits of the SHA-256 of
# the sorted lines "<name> <shape>", with a shape as 3x3x3x32. The image size matters to auxiliary logits alone.
NAMES = {
    ("mobilenet_v1", "EVAL"): (4_231_976, 4_253_864, 137, "a90bd1c91ea2619a"),
    ("mobilenet_v1_075", "EVAL"): (2_585_560, 2_601_976, 137, "2443e23a2d36c280"),
    ("mobilenet_v1_050", "EVAL"): (1_331_592, 1_342_536, 137, "9a18423674209e6a"),
    ("mobilenet_v1_025", "EVAL"): (470_072, 475_544, 137, "de724204f334c8a4"),
    ("mobilenet_v2", "EVAL"): (3_504_872, 3_538_984, 262, "4a167880a67bfaad"),
    ("mobilenet_v2_140", "EVAL"): (6_108_776, 6_156_712, 262, "0119c6f695db733f"),
    ("mobilenet_v2_035", "EVAL"): (1_677_128, 1_691_208, 262, "6e541c37ee4df8ee"),
    ("nasnet_cifar", "PREDICT"): (4_107_848, 4_145_096, 1424, "828410f3e700fc80"),
    ("nasnet_cifar", "TRAIN"): (6_500_656, 6_539_697, 1437, "4d79a06d12c4aeef"),
    ("nasnet_mobile", "PREDICT"): (5_289_978, 5_326_716, 1126, "d144a8ab26f04c02"),
    ("nasnet_mobile", "TRAIN"): (7_701_218, 7_739_748, 1138, "997631259d6ac6c0"),
    ("nasnet_large", "PREDICT"): (88_753_150, 88_949_818, 1546, "f40a678b7ff3b1d2"),
    ("nasnet_large", "TRAIN"): (93_320_934, 93_519_395, 1559, "77664df1c15fe9bd"),
    ("pnasnet_large", "PREDICT"): (86_057_668, 86_234_656, 1179, "88a1fe55d2facbfb"),
    ("pnasnet_mobile", "PREDICT"): (5_064_487, 5_098_151, 933, "467bebd1af27b3ed"),
    ("pnasnet_mobile", "TRAIN"): (7_477_263, 7_512_719, 945, "1983af691f763298"),
    ("xception_41", "EVAL"): (26_969_560, 27_084_872, 422, "103c19390556a510"),
    ("xception_65", "EVAL"): (39_916_312, 40_101_512, 662, "21afee79a6545c66"),
    ("xception_71", "EVAL"): (42_338_736, 42_537_712, 732, "b800e3d2c5f7a703"),
}
# Where slim makes the global step, if the program has made none: in the scope in which it first drops a branch.
GLOBAL_STEPS = {
    ("nasnet_cifar", "TRAIN"): "cell_0/comb_iter_0/left/global_step",
    ("nasnet_large", "TRAIN"): "cell_stem_0/comb_iter_0/left/global_step",
}
SAMPLE = {
    ("mobilenet_v1_025", "EVAL"),
    ("mobilenet_v2_035", "EVAL"),
    ("pnasnet_mobile", "TRAIN"),
}

# The logits of one image, with variables and image as in `value` and `image`.
LOGITS = {
    "mobilenet_v1_025": [-0.599875, -0.508694, 0.924428, -1.45986, -0.857682],
    "mobilenet_v2_035": [-4.57385, 2.89945, -1.53113, 3.46518, 6.58912],
    "xception_41": [38673100.0, -2200600.0, -27356800.0, 13189600.0, 71860400.0],
    "pnasnet_mobile": [93921.4, 123105.0, 107544.0, -59081.9, -148938.0],
    "nasnet_cifar": [-71045.3, -297645.0, 292623.0, 37546.8, -89449.5],
    "nasnet_mobile": [6139.99, 20725.3, 3543.47, -18617.9, -21948.3],
    "mobilenet_v2_140": [2.61461, 1.43439, -0.578754, 3.79378, 4.64008],
    "xception_71": [-18837100000000.0, -2121240000000.0, 48975200000000.0, 16161600000000.0, -35881400000000.0],
}
SAMPLE_OF_LOGITS = {"mobilenet_v1_025", "mobilenet_v2_035", "xception_41"}


def sampled(keys, sample):
    return [pytest.param(key, marks=[] if key in sample else pytest.mark.networks, id=str(key)) for key in keys]


@pytest.mark.parametrize("case", sampled(NAMES, SAMPLE))
def test_variables_have_the_names_and_shapes_of_slims(case):
    name, mode = case
    size = mox.get_model_meta(name).default_image_size
    with tf.Graph().as_default():
        mox.get_model_fn(name, run_mode=mode, num_classes=1000)(tf.compat.v1.placeholder(tf.uint8, [2, size, size, 3]))
        variables = [v for v in tf.compat.v1.global_variables() if v.op.name != "global_step"]
    lines = sorted(f"{v.op.name} {'x'.join(map(str, v.shape))}" for v in variables)
    trainable, everything = (
        sum(v.shape.num_elements() for v in some) for some in ([v for v in variables if v.trainable], variables)
    )
    if case in GLOBAL_STEPS:
        lines, everything = sorted([*lines, f"{GLOBAL_STEPS[case]} "]), everything + 1
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert (trainable, everything, len(lines), digest) == NAMES[case]


def value(name, shape):
    """A value for a variable that depends on its name alone, and does not drown or swell the signal."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    kind = name.rpartition("/")[2]
    if "weights" in kind:
        inputs = np.prod(shape[:2]) if kind == "depthwise_weights" else np.prod(shape[:-1])
        return random.uniform(-1, 1, shape) * np.sqrt(6 / inputs)
    low, high = (0.5, 1.5) if kind in ("gamma", "moving_variance") else (-0.5, 0.5)
    return random.uniform(low, high, shape)


def image(name):
    """An image of odd and even sides, which 'SAME' pads differently at almost every stride."""
    height, width = (24, 32) if name == "nasnet_cifar" else (65, 98)
    return np.random.RandomState(0).uniform(-1, 1, (1, height, width, 3)).astype(np.float32)


@pytest.mark.parametrize("name", sampled(LOGITS, SAMPLE_OF_LOGITS))
def test_logits_are_those_of_slims(name):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        build = mox.get_model_fn(name, run_mode="PREDICT", num_classes=5, preprocess_fn=None)
        logits, _ = build(tf.constant(image(name)))
        variables = tf.compat.v1.global_variables()
        fed = {v.initializer.inputs[1]: value(v.op.name, v.shape.as_list()) for v in variables}
        session.run([v.initializer for v in variables], fed)
        found = session.run(logits)[0]
    np.testing.assert_allclose(found, LOGITS[name], rtol=0, atol=1e-4 * np.abs(LOGITS[name]).max())
