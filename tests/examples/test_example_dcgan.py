"""The DCGAN on real digits, in both styles: after 200 steps its drawings are like digits, and unlike noise.

A drawing is measured by its distance to the nearest of 2,500 real digits (root of the mean squared difference of pixels
from -1 to 1). Real digits that are not among them are 0.38 away, uniform noise 1.08, and real digits with their pixels
in random order 0.70: as much ink, but no strokes. A blank image would be near as well (0.30), so the amount of ink and
the differences between drawings are looked at too.
"""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXAMPLE = Path(__file__).parents[2] / "examples" / "dcgan.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dcgan")


@pytest.fixture(scope="module")
def learned(example, folder):
    return example["main"](folder, steps=200)


@pytest.fixture(scope="module")
def real(example):
    return example["digits"]()


def distance(images, digits):
    """The mean distance of images to the nearest of some digits."""
    flat = digits.reshape(len(digits), -1)
    return np.mean([np.sqrt(np.mean((flat - image.ravel()) ** 2, axis=1).min()) for image in images])


def smoothness(images):
    """The correlation of pixels with their right neighbours: strokes have it, noise does not."""
    return np.corrcoef(images[:, :, :-1].ravel(), images[:, :, 1:].ravel())[0, 1]


def variety(images):
    return np.sqrt(images.var(axis=0).mean())


FORMS = pytest.mark.parametrize("form", ["tf1", "keras"])


@FORMS
def test_both_losses_are_finite_and_neither_network_has_won(learned, form):
    # A discriminator that cannot tell has a loss of 2 log 2, and one that always can has none.
    assert 0.1 < learned[form]["discriminator"] < 2 * np.log(2)
    assert 0.1 < learned[form]["generator"] < 5


@FORMS
def test_drawings_are_nearer_to_digits_than_noise_and_than_the_pixels_of_digits_in_random_order(learned, real, form):
    random = np.random.default_rng(0)
    some, others = real[::2], real[1::100]
    scattered = random.permuted(others.reshape(50, -1), axis=1).reshape(others.shape)
    after = distance(learned[form]["after"], some)
    assert after < distance(scattered, some) - 0.1
    assert after < distance(learned[form]["before"], some) - 0.3
    assert after < distance(random.uniform(-1, 1, others.shape), some) - 0.4
    assert distance(others, some) < after  # the measure works: nothing is nearer to digits than digits


@FORMS
def test_drawings_have_the_ink_and_the_strokes_of_digits_and_differ_from_each_other(learned, real, form):
    after, before = learned[form]["after"], learned[form]["before"]
    assert np.mean(after > 0) == pytest.approx(np.mean(real > 0), rel=0.4)
    assert smoothness(after) > 0.6
    assert smoothness(before) < 0.3
    assert variety(after) > 0.6 * variety(real)


@FORMS
def test_the_picture_shows_four_rows_of_sixteen(learned, folder, form):
    with Image.open(folder / f"{form}.png") as picture:
        pixels = np.asarray(picture.convert("L"), float)
    rows = pixels[::2, ::2].reshape(4, 28, 16, 28).swapaxes(1, 2) / 127.5  # twice the size: every other pixel
    np.testing.assert_allclose(1 - rows[1], learned[form]["before"][:16, :, :, 0], atol=0.01)
    np.testing.assert_allclose(1 - rows[3], learned[form]["after"][16:32, :, :, 0], atol=0.01)


@FORMS
def test_drawings_are_in_the_event_file_of_the_training(learned, folder, form):  # noqa: ARG001
    events = EventAccumulator(str(folder / form), size_guidance={"tensors": 0})
    events.Reload()
    (tag,) = [tag for tag in events.Tags()["tensors"] if tag.startswith("drawn")]
    assert events.SummaryMetadata(tag).plugin_data.plugin_name == "images"
    assert [event.step for event in events.Tensors(tag)] == [0, 100]
