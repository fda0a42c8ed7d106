"""AugmentationContract finds what is wrong with an augmentation, and nothing in a good one."""

import pytest

from mox_core.testing import AugmentationContract

SOURCE = """
import numpy as np
import tensorflow as tf

from mox_core.plugins import AugmentationOffer, hookimpl

@hookimpl
def mox_augmentations():
    yield AugmentationOffer("kit_crop", "kit.plugin:kit_crop", summary="random crops")

CALLS = []

def kit_crop(*, run_mode, output_height=16, output_width=24):
    size = [output_height, output_width, 3]

    def augment(image):
        image = tf.cast(image, tf.float32)
        if run_mode == "TRAIN":
            image = tf.image.random_crop(image, size)
        else:
            image = tf.image.resize_with_crop_or_pad(image, *size[:2])
        image = tf.ensure_shape(image, size)
        return image

    return augment
"""
CROP = "tf.image.random_crop(image, size)"
ENSURE = "image = tf.ensure_shape(image, size)"
SHAPES, TRAIN, EVAL, SEED, BATCHES = (
    "test_shape_and_type_are_known_and_the_same_in_all_modes",
    "test_train_differs_between_samples",
    "test_eval_is_always_the_same",
    "test_the_same_seed_gives_the_same_pictures",
    "test_pictures_of_several_sizes_make_batches",
)


class Contract(AugmentationContract):
    augmentation = "kit_crop"
    options = {"output_height": 16, "output_width": 24}
    output_shape = (16, 24, 3)


class Deterministic(Contract):
    deterministic = True


def test_a_good_augmentation_passes(install, run_check):
    install(SOURCE)
    run_check(Contract)


def test_one_that_draws_nothing_passes_where_it_says_so(install, run_check):
    install(SOURCE, (CROP, "image[:16, :24]"))
    run_check(Deterministic)


@pytest.mark.parametrize(
    ("old", "new", "check", "words"),
    [
        (ENSURE, "image = image[:10]", SHAPES, "gives images of shape (10, 24, 3) in TRAIN; expected is (16, 24, 3)."),
        (ENSURE, "image = tf.py_function(lambda x: x, [image], tf.float32)", SHAPES, "call image.set_shape"),
        (ENSURE, f"{ENSURE} / 0.0", SHAPES, "gives numbers in TRAIN that are not finite"),
        (ENSURE, f"{ENSURE}; image = tf.as_string(image)", SHAPES, "in TRAIN, not numbers."),
        (CROP, f"tf.cast({CROP}, tf.float64)", SHAPES, "{'TRAIN': 'float64', 'EVAL': 'float32'}: cast them"),
        (ENSURE, "raise ValueError('no picture')", SHAPES, "augmenting by augmentation 'kit_crop' in TRAIN fails: Va"),
        (CROP, "image[np.random.randint(9):][:16, :24]", TRAIN, "gives 8 samples of TRAIN the same face. Draw random"),
        ('if run_mode == "TRAIN":', "if True:", EVAL, "returns different results for one image in EVAL"),
        (
            CROP,
            "tf.numpy_function(lambda x: x[np.random.randint(9):][:16, :24], [image], tf.float32)",
            SEED,
            "gives other pictures with the same seed",
        ),
        (
            CROP,
            "tf.image.stateless_random_crop(image, size, seed=[1, 2])",
            SEED,
            "gives the same pictures with another seed",
        ),
        (
            'if run_mode == "TRAIN":',
            "image = tf.ensure_shape(image, [48, 64, 3])\n        if run_mode == 'TRAIN':",
            BATCHES,
            "batching what augmentation 'kit_crop' makes of pictures of several sizes in TRAIN fails",
        ),
    ],
)
def test_what_is_wrong_is_found(install, caught, old, new, check, words):
    install(SOURCE, (old, new))
    caught(Contract, check, words)


def test_one_that_draws_and_says_that_it_does_not_is_found(install, caught):
    install(SOURCE)
    caught(Deterministic, TRAIN, "is declared deterministic and returns different results for one image in TRAIN")


def test_one_that_depends_on_how_often_it_was_called_is_found(install, caught):
    install(SOURCE, (CROP, "image[(CALLS.append(1), len(CALLS))[1]:][:16, :24]"))
    caught(Contract, BATCHES, "gives other pictures in batches than one by one in TRAIN")
