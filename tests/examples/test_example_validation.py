"""The example on validation: its means are those of NumPy over all digits that were held out."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXAMPLE = Path(__file__).parents[2] / "examples" / "validation.py"


def _scalars(folder):
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in accumulator.Tensors(tag)}
        for tag in accumulator.Tags()["tensors"]
    }


def test_validation_every_half_epoch_gives_means_over_all_digits_held_out(tmp_path):
    found = runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    validated, trained = _scalars(tmp_path / "log" / "eval"), _scalars(tmp_path / "log")
    assert {"loss", "accuracy"} <= trained.keys()
    assert validated.keys() == {"loss", "accuracy"}
    steps = [13 * n - 1 for n in range(1, 9)]
    assert list(validated["accuracy"]) == [*steps, 104]  # and what the run of EVAL wrote

    saved = tf.train.load_checkpoint(found["trained"].checkpoint)
    pixels, labels = found["held_out"]
    logits = pixels.astype(np.float64) @ saved.get_tensor("weights") + saved.get_tensor("bias")
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(400), labels]
    expected = {"loss": losses.mean(), "accuracy": np.mean(logits.argmax(1) == labels)}
    for name, value in expected.items():
        assert validated[name][103] == pytest.approx(value, rel=1e-4)
        assert found["evaluated"].metrics[name] == pytest.approx(value, rel=1e-4)
    assert expected["accuracy"] > 0.85
