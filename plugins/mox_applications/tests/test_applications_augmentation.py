"""The augmentations: the size of each network, and EfficientNet's evaluation against cutting by hand."""

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.errors import UsageError

IMAGE = np.random.default_rng(0).integers(0, 256, (272, 400, 3)).astype(np.uint8)


@pytest.mark.parametrize(("name", "size"), [("vgg_19", 224), ("applications/inception_v3", 299), ("nasnet_large", 331)])
@pytest.mark.parametrize("mode", ["TRAIN", "EVAL"])
def test_the_output_has_the_size_of_the_network_if_none_is_given(name, size, mode):
    name = name if "/" in name else f"applications/{name}"
    image = mox.get_data_augmentation_fn(name, run_mode=mode)(IMAGE)
    assert (image.shape.as_list(), image.dtype) == ([size, size, 3], tf.float32)


def test_efficientnet_evaluates_the_centre_but_for_a_margin_of_16_pixels_of_the_output():
    # 272 rows are 240 and two margins, so that nothing is resized.
    found = mox.get_data_augmentation_fn("efficientnet_b1", run_mode="EVAL")(IMAGE)
    np.testing.assert_allclose(found, IMAGE[16:256, 80:320], atol=1e-3)
    # Half the size: 272 / (104 + 32) is two pixels of the image for one of the output.
    augment = mox.get_data_augmentation_fn("efficientnet_b1", run_mode="EVAL", output_height=104, output_width=88)
    expected = tf.image.resize(IMAGE[32:240, 112:288], [104, 88], "bicubic")
    np.testing.assert_allclose(augment(IMAGE), np.clip(expected, 0, 255), atol=1e-3)


def test_a_wrong_option_is_refused_by_name():
    with pytest.raises(UsageError, match="unknown option 'sidemin'"):
        mox.get_data_augmentation_fn("efficientnet_b0", run_mode="EVAL", sidemin=1)
