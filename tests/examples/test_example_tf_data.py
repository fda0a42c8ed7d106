"""examples/tf_data.py: whichever way `input_fn` takes, the samples of the generator arrive in its order."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

EXAMPLE = Path(__file__).parents[2] / "examples" / "tf_data.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def results(example, tmp_path_factory):
    return example["main"](tmp_path_factory.mktemp("tf_data"))


@pytest.fixture(scope="module")
def regression(example):
    """Softmax regression in NumPy, on the samples in the order in which the data set gives them."""
    digits, weights, biases, loss = example["Digits"](), np.zeros([784, 10]), np.zeros(10), 0.0
    batch = example["BATCH"]
    for _ in range(example["STEPS"]):
        samples = [digits.next() for _ in range(batch)]
        images, labels = np.array([image for image, _ in samples], float), np.array([label for _, label in samples])
        exponentials = np.exp(images @ weights + biases)
        chances = exponentials / exponentials.sum(axis=1, keepdims=True)
        loss = -np.log(chances[np.arange(batch), labels]).mean()
        errors = (chances - np.eye(10)[labels]) / batch
        weights, biases = weights - 0.5 * images.T @ errors, biases - 0.5 * errors.sum(axis=0)
    return weights, biases, loss


@pytest.mark.parametrize("way", ["make_one_shot_iterator", "mox.get_next", "return dataset", "own batches"])
def test_the_weights_are_those_of_the_samples_in_the_order_of_the_generator(results, regression, way):
    weights, biases, loss = regression
    learned = tf.train.load_checkpoint(results[way].checkpoint)
    np.testing.assert_allclose(learned.get_tensor("weights"), weights, atol=1e-4)
    np.testing.assert_allclose(learned.get_tensor("biases"), biases, atol=1e-4)
    assert results[way].metrics["loss"] == pytest.approx(loss, abs=1e-3)
    assert results[way].samples == 120 * 50
    assert results[way].metrics["accuracy"] > 0.8  # of one batch; chance is 0.1
