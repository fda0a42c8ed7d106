"""examples/model_spec.py: what each mode needs, and how what is wrong is refused."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

EXAMPLE = Path(__file__).parents[2] / "examples" / "model_spec.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture(scope="module")
def outcome(example, tmp_path_factory):
    return example["main"](tmp_path_factory.mktemp("model_spec"))


def test_each_mode_does_its_part_and_finds_the_line_of_least_squares(example, outcome):
    trained, evaluated, predicted, _ = outcome
    slope, height = np.polyfit(example["X"], example["Y"], 1)
    least = np.mean((slope * example["X"] + height - example["Y"]) ** 2)
    assert evaluated.samples == 64
    assert evaluated.metrics["error"] == pytest.approx(least, rel=0.02)
    np.testing.assert_allclose(predicted, slope * example["X"] + height, atol=0.02)
    signature = tf.saved_model.load(trained.export_path).signatures["serving_default"]
    np.testing.assert_allclose(signature(x=tf.constant(example["X"]))["y"], predicted, rtol=1e-6)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("no loss in TRAIN", "without loss in mode TRAIN, which needs it: pass ModelSpec(loss=...)."),
        ("a loss for each sample", "ModelSpec loss is a float32 tensor of shape (16,). It must be a scalar number"),
        ("a name instead of a tensor", "log_info of ModelSpec is 'error'; it must be a dict from names to tensors."),
        ("a vector in log_info", "ModelSpec log_info['y'] is a float32 tensor of shape (16,). It must be a scalar"),
        ("no ExportSpec", "write mox.ExportSpec(inputs_dict={...}, outputs_dict={...})."),
        ("a hook's class", "hooks[0] of ModelSpec is the class 'AggregativeSessionRunHook'; give an instance of it."),
        ("a scope without variables", "no trainable variable in the variable scopes ['generator']. Scopes with"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(outcome, what, said):
    assert said in outcome[3][what]
