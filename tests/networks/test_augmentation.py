"""The augmentations: against resizing and cropping by plain TensorFlow and NumPy, and by what they draw."""

import numpy as np
import pytest
import tensorflow as tf

from mox_core.errors import UsageError
from mox_core.networks import augmentation

NOISE = np.random.default_rng(0).integers(0, 256, (60, 90, 3)).astype(np.uint8)


def gradients(height, width):
    """An image whose red is the row and whose green is the column, so that a crop tells where it was taken."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, np.full_like(rows, 9)], axis=-1).astype(np.float32)


def traced(augment, image):
    """As in a pipeline: the shape of the image is not known."""
    return tf.function(augment, input_signature=[tf.TensorSpec(None, image.dtype)])


def drawn(augment, image, times):
    run = traced(augment, image)
    tf.random.set_seed(4)
    return [run(image).numpy() for _ in range(times)]


@pytest.mark.parametrize("make", [augmentation.vgg, augmentation.cifar])
@pytest.mark.parametrize("run_mode", ["TRAIN", "EVAL", "PREDICT"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int32])
@pytest.mark.parametrize("size", [(60, 90), (1, 1), (300, 20)])
def test_any_image_becomes_float32_of_the_size_asked_for_in_the_same_range(make, run_mode, dtype, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(dtype)
    run = traced(make(run_mode=run_mode, output_height=48, output_width=40), image).get_concrete_function()
    assert run.structured_outputs.shape.as_list() == [48, 40, 3]
    result = run(tf.constant(image)).numpy()
    assert result.dtype == np.float32
    assert 0 <= result.min() <= result.max() <= 255.001
    assert result.max() > 1


@pytest.mark.parametrize(("make", "shape"), [(augmentation.vgg, [224, 224, 3]), (augmentation.cifar, [32, 32, 3])])
def test_the_output_has_the_size_of_the_network_if_none_is_given(make, shape):
    assert make(run_mode="TRAIN")(NOISE).shape.as_list() == shape


@pytest.mark.parametrize("size", [(375, 500), (500, 375), (256, 256), (40, 30)])
def test_vgg_evaluates_the_centre_of_the_image_resized_to_a_smaller_side_of_256(size):
    image = np.random.default_rng(2).integers(0, 256, (*size, 3)).astype(np.uint8)
    height, width = (round(side * 256 / min(size)) for side in size)
    resized = tf.image.resize(image, [height, width]).numpy()
    top, left = (height - 224) // 2, (width - 224) // 2
    result = augmentation.vgg(run_mode="EVAL", output_height=224, output_width=224)(image)
    np.testing.assert_allclose(result, resized[top : top + 224, left : left + 224], atol=0.05)


def test_vgg_lifts_the_smaller_side_to_an_output_that_does_not_fit_in():
    image = np.random.default_rng(2).integers(0, 256, (100, 100, 3)).astype(np.uint8)
    result = augmentation.vgg(run_mode="EVAL", output_height=300, output_width=300)(image)
    np.testing.assert_allclose(result, tf.image.resize(image, [300, 300]), atol=0.05)


def test_vgg_trains_on_random_scales_places_and_mirrorings():
    image = gradients(400, 600)
    crops = drawn(augmentation.vgg(run_mode="TRAIN", output_height=224, output_width=224), image, 200)
    rows = np.array([[crop[..., 0].min(), crop[..., 0].max()] for crop in crops])
    columns = np.array([[crop[..., 1].min(), crop[..., 1].max()] for crop in crops])
    # With a smaller side of s the crop takes 224 / s of the 400 rows: 350 at 256, 175 at 512.
    taken = rows[:, 1] - rows[:, 0] + 1
    assert 173 <= taken.min() < 180
    assert 343 < taken.max() <= 351
    sides = 224 * 400 / taken
    assert sides.mean() == pytest.approx(384, rel=0.03)  # uniform in 256..512
    np.testing.assert_allclose(columns[:, 1] - columns[:, 0] + 1, taken, atol=2)  # no distortion
    places = columns[:, 0] / (600 - taken)
    assert places.min() < 0.05
    assert places.max() > 0.95
    assert places.mean() == pytest.approx(0.5, abs=0.1)
    mirrored = np.array([crop[0, 0, 1] > crop[0, -1, 1] for crop in crops])
    assert 70 <= mirrored.sum() <= 130
    assert np.unique(np.concatenate(crops)[..., 2]).tolist() == [9.0]  # nothing from outside of the image


def test_vgg_takes_the_sides_that_it_is_given():
    image = gradients(400, 400)
    augment = augmentation.vgg(
        run_mode="TRAIN", output_height=64, output_width=64, resize_side_min=80, resize_side_max=80
    )
    taken = {int(crop[..., 0].max() - crop[..., 0].min() + 0.5) for crop in drawn(augment, image, 5)}
    # 64 / 80 of 400 rows, from the centre of the first output pixel to that of the last: 320 - 5
    assert taken == {315}


@pytest.mark.parametrize("method", ["bilinear", "nearest", "bicubic", "area"])
@pytest.mark.parametrize("size", [(37, 150), (224, 224), (300, 97)])
def test_an_image_is_resized_to_the_bits_that_its_own_type_gives(size, method):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    expected = tf.cast(tf.image.resize(image, [64, 80], method=method), tf.float32)
    np.testing.assert_array_equal(augmentation.resized(image, [64, 80], method), expected)


def test_cifar_trains_on_shifts_by_up_to_four_with_black_outside_and_mirrorings():
    image = NOISE[:28, :28]
    padded = np.pad(image, [(4, 4), (4, 4), (0, 0)]).astype(np.float32)
    possible = {}
    for top in range(9):
        for left in range(9):
            crop = padded[top : top + 28, left : left + 28]
            possible[crop.tobytes()] = (top, left, False)
            possible[crop[:, ::-1].tobytes()] = (top, left, True)
    crops = drawn(augmentation.cifar(run_mode="TRAIN", output_height=28, output_width=28), image, 300)
    found = [possible[crop.tobytes()] for crop in crops]
    tops, lefts, mirrored = zip(*found, strict=True)
    assert set(tops) == set(lefts) == set(range(9))
    assert 110 <= sum(mirrored) <= 190


def test_cifar_evaluates_an_image_of_the_size_asked_for_as_it_is():
    result = augmentation.cifar(run_mode="EVAL", output_height=28, output_width=28)(NOISE[:28, :28])
    np.testing.assert_array_equal(result, NOISE[:28, :28])


def test_cifar_evaluates_the_centre_of_the_smallest_resized_image_that_holds_the_output():
    result = augmentation.cifar(run_mode="EVAL", output_height=30, output_width=30)(NOISE)
    np.testing.assert_allclose(result, tf.image.resize(NOISE, [30, 45])[:, 7:37], atol=0.05)


@pytest.mark.parametrize("make", [augmentation.vgg, augmentation.cifar])
def test_mirroring_can_be_switched_off(make):
    augment = make(run_mode="TRAIN", output_height=32, output_width=32, random_flip=False)
    for crop in drawn(augment, gradients(200, 200) + 50, 20):
        inside = crop[16, crop[16, :, 1] > 0, 1]
        assert (np.diff(inside) > 0).all()


@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (augmentation.vgg, {"sidemin": 1}, "unknown option 'sidemin' for the VGG augmentation"),
        (augmentation.cifar, {"resize_side_min": 1}, "unknown option 'resize_side_min' for the CIFAR augmentation"),
        (augmentation.cifar, {"run_mode": "eval"}, "run_mode is 'eval', which must be one of"),
        (augmentation.vgg, {"output_height": 0}, "output_height is 0, which must be a whole number of at least 1"),
        (augmentation.vgg, {"resize_side_min": 200}, "at least 224 for the output to fit in"),
        (augmentation.vgg, {"resize_side_min": 400, "resize_side_max": 300}, "they must be in this order"),
    ],
)
def test_wrong_options_are_refused_by_name(make, options, words):
    with pytest.raises(UsageError, match=words):
        make(**{"run_mode": "TRAIN", **options})


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros([2, 8, 8, 3], np.uint8), "augment images one by one, before they are batched"),
        (np.zeros([8, 8, 1], np.uint8), "in RGB"),
        (np.zeros([8, 8, 3], bool), "the image has dtype 'bool', which must be an integer or float type"),
    ],
)
def test_wrong_images_are_refused(image, words):
    with pytest.raises(UsageError, match=words):
        augmentation.vgg(run_mode="EVAL")(image)
