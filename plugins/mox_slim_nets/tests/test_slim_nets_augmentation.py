"""The augmentations of LeNet and CifarNet, against NumPy and by what they draw."""

import numpy as np
import pytest
import tensorflow as tf

from mox_core.errors import UsageError
from mox_slim_nets import augmentation

NOISE = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)


def drawn(image, times, **options):
    """As in a pipeline: the shape of the image is not known."""
    augment = augmentation.cifarnet(run_mode="TRAIN", **options)
    run = tf.function(augment, input_signature=[tf.TensorSpec(None, image.dtype)])
    tf.random.set_seed(4)
    return np.stack([run(image).numpy() for _ in range(times)])


@pytest.mark.parametrize("run_mode", ["TRAIN", "EVAL"])
def test_lenet_takes_the_centre_with_black_around_what_is_smaller(run_mode):
    image = NOISE[:20, :, :1]
    expected = np.pad(image[:, 2:30], [(4, 4), (0, 0), (0, 0)])
    result = augmentation.lenet(run_mode=run_mode)(image)
    assert result.dtype == tf.float32
    np.testing.assert_array_equal(result, expected)
    result = augmentation.lenet(run_mode=run_mode, output_height=24, output_width=16)(NOISE)
    np.testing.assert_array_equal(result, NOISE[4:28, 8:24])


def test_cifarnet_evaluates_an_image_as_it_is():
    np.testing.assert_array_equal(augmentation.cifarnet(run_mode="EVAL")(NOISE), NOISE)


def test_cifarnet_changes_brightness_and_contrast_of_a_shifted_crop():
    padded = np.pad(NOISE, [(4, 4), (4, 4), (0, 0)]).astype(np.float64)
    results = drawn(NOISE, 100, random_flip=False)
    crops = [padded[top : top + 32, left : left + 32] for top in range(9) for left in range(9)]
    flat = np.stack([(crop - crop.mean((0, 1))).ravel() for crop in crops])
    factors, shifts = [], []
    for result in results:
        # Contrast is a factor around the mean of each channel, which brightness has moved: found by least squares.
        centred = (result - result.mean((0, 1))).ravel()
        slopes = flat @ centred / (flat**2).sum(1)
        errors = np.abs(centred - slopes[:, None] * flat).max(1)
        assert errors.min() < 1e-2
        best = errors.argmin()
        factors.append(slopes[best])
        moved = result.mean((0, 1)) - crops[best].mean((0, 1))
        assert np.ptp(moved) < 1e-2
        shifts.append(moved.mean())
    assert 0.2 <= min(factors) < 0.3
    assert 1.7 < max(factors) <= 1.8
    assert -63 <= min(shifts) < -56
    assert 56 < max(shifts) <= 63


def test_wrong_options_are_refused_by_name():
    with pytest.raises(UsageError, match="unknown option 'random_flip' for the LeNet augmentation"):
        augmentation.lenet(run_mode="TRAIN", random_flip=True)
    with pytest.raises(UsageError, match="unknown option 'fast_mode' for the CIFAR augmentation"):
        augmentation.cifarnet(run_mode="TRAIN", fast_mode=True)
    with pytest.raises(UsageError, match="must be \\[height, width, channels\\]: augment images one by one"):
        augmentation.lenet(run_mode="TRAIN")(NOISE[None])
