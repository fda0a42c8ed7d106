"""The augmentation of Inception: against plain TensorFlow, and by what it draws."""

import numpy as np
import pytest
import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.networks.inception_augmentation import inception

NOISE = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)


def drawn(image, times, **options):
    """As in a pipeline: the shape of the image is not known."""
    augment = inception(run_mode="TRAIN", **options)
    run = tf.function(augment, input_signature=[tf.TensorSpec(None, image.dtype)])
    tf.random.set_seed(4)
    return np.stack([run(image).numpy() for _ in range(times)])


def test_evaluation_resizes_the_centre_of_seven_eighths():
    image = np.random.default_rng(2).integers(0, 256, (80, 160, 3)).astype(np.uint8)
    result = inception(run_mode="EVAL", output_height=48, output_width=40)(image)
    np.testing.assert_allclose(result, tf.image.resize(image[5:75, 10:150], [48, 40]), atol=1e-3)


def test_the_output_has_the_size_of_inception_if_none_is_given():
    assert inception(run_mode="EVAL")(NOISE).shape.as_list() == [299, 299, 3]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("fast_mode", [True, False])
def test_training_gives_float32_of_the_size_asked_for_in_0_to_255(dtype, fast_mode):
    results = drawn(NOISE.astype(dtype), 30, output_height=24, output_width=20, fast_mode=fast_mode)
    assert results.shape == (30, 24, 20, 3)
    assert results.dtype == np.float32
    assert 0 <= results.min() <= results.max() <= 255
    assert results.max() > 200


def test_training_takes_regions_of_a_tenth_of_the_image_up_to_all_of_it_in_moderate_proportions():
    # Grey, so that saturation changes nothing, and brightness adds one number: slopes show what the region was.
    rows, columns = np.mgrid[0:200, 0:200]
    for along in (rows, columns):
        image = np.repeat((60 + along * 0.5)[..., None], 3, axis=-1).astype(np.float32)
        crops = drawn(image, 100, output_height=50, output_width=50)
        heights = (crops[:, 40, 25, 0] - crops[:, 10, 25, 0]) / 0.5 / 30 * 50
        widths = (crops[:, 25, 40, 0] - crops[:, 25, 10, 0]) / 0.5 / 30 * 50
        seen = np.abs(heights if along is rows else widths)
        assert 200 * np.sqrt(0.1 * 0.7) < seen.min() < 100
        assert 160 < seen.max() <= 200.01
        if along is columns:
            assert 30 <= (widths < 0).sum() <= 70  # mirrored


def test_colours_change_in_brightness_and_saturation_alone_in_fast_mode():
    grey = np.full([40, 40, 3], 100, np.uint8)
    brighter = drawn(grey, 200, output_height=8, output_width=8)
    assert np.ptp(brighter, axis=(1, 2, 3)).max() < 1e-3  # no contrast in it, and no hue
    shifts = brighter[:, 0, 0, 0] - 100
    assert -32 <= shifts.min() < -28
    assert 28 < shifts.max() <= 32
    colour = np.full([40, 40, 3], (150, 100, 100), np.uint8)
    colours = drawn(colour, 200, output_height=8, output_width=8)[:, 0, 0]
    # Brightness moves all three, saturation brings the lower two nearer to the highest or further away.
    spread = (colours[:, 0] - colours[:, 1]) / colours[:, 0] * 3
    np.testing.assert_allclose(colours[:, 1], colours[:, 2], atol=1e-3)
    assert spread.min() < 0.6
    assert spread.max() > 1.4


def test_hue_changes_where_the_mode_is_not_fast():
    colour = np.full([40, 40, 3], (150, 100, 100), np.uint8)
    colours = drawn(colour, 50, output_height=8, output_width=8, fast_mode=False)[:, 0, 0]
    assert np.abs(colours[:, 1] - colours[:, 2]).max() > 10


def test_mirroring_can_be_switched_off():
    image = np.repeat(np.arange(40, 240, dtype=np.float32)[None, :, None], 200, axis=0).repeat(3, axis=2)
    crops = drawn(image, 30, output_height=16, output_width=16, random_flip=False)
    assert (crops[:, 8, 12, 0] > crops[:, 8, 4, 0]).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resize_side_min": 1}, "unknown option 'resize_side_min' for the Inception augmentation"),
        ({"fast_mode": 1}, "fast_mode is 1, which must be True or False"),
        ({"run_mode": "eval"}, "run_mode is 'eval', which must be one of"),
        ({"output_width": 0}, "output_width is 0, which must be a whole number of at least 1"),
    ],
)
def test_wrong_options_are_refused_by_name(options, words):
    with pytest.raises(UsageError, match=words):
        inception(**{"run_mode": "TRAIN", **options})


def test_a_grey_image_is_refused():
    with pytest.raises(UsageError, match="in RGB"):
        inception(run_mode="EVAL")(np.zeros([8, 8, 1], np.uint8))
