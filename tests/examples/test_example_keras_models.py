"""examples/keras_models.py: what is learned by models of Keras, however they come into `model_fn`."""

import json
import runpy
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

EXAMPLE = Path(__file__).parents[2] / "examples" / "keras_models.py"

# NumPy warns Keras, when it saves a model.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keras_models")
    example = runpy.run_path(str(EXAMPLE))
    accuracies = example["main"](folder)
    tf.compat.v1.random.set_random_seed(None)
    return example, folder, accuracies


def test_every_model_learns_what_it_was_given(outcome):
    _, _, accuracies = outcome
    assert set(accuracies) == {
        "first run",
        "loaded from JSON and trained on",
        "digits, by mox",
        "digits, by Keras",
        "odd or even",
    }
    assert min(accuracies.values()) > 0.85  # chance gives 0.5, and 0.1 for the digits
    # Keras itself finds in the model what mox found in the checkpoint.
    assert accuracies["digits, by Keras"] == pytest.approx(accuracies["digits, by mox"], abs=1e-6)


def test_json_and_layers_give_the_same_variables(outcome):
    _, folder, _ = outcome
    layers = {layer["class_name"] for layer in json.loads((folder / "model.json").read_text())["config"]["layers"]}
    assert {"Embedding", "LSTM", "Concatenate", "Dense"} <= layers
    first, second = ({name for name, _ in tf.train.list_variables(str(folder / place))} for place in ("layers", "json"))
    assert {"embedding/embeddings", "lstm/lstm_cell/kernel", "together/kernel", "words_alone/bias"} < first
    assert first == second


def test_the_saved_model_of_keras_gives_the_accuracy_of_the_run(outcome):
    example, folder, accuracies = outcome
    images, labels = example["digits"]()[1]
    model = keras.models.load_model(folder / "digits.keras")
    guesses = model.predict(images, verbose=0).argmax(axis=1)
    assert np.mean(guesses == labels) == pytest.approx(accuracies["digits, by mox"], abs=1e-6)


def test_a_frozen_part_is_saved_with_the_task_that_uses_it(outcome):
    _, folder, _ = outcome
    digits, odd = (tf.train.load_checkpoint(str(folder / place)) for place in ("digits", "odd"))
    for name in ("conv0/kernel", "norm2/moving_mean"):
        np.testing.assert_array_equal(digits.get_tensor(name), odd.get_tensor(name))
    assert odd.has_tensor("odd/kernel")
    assert not odd.has_tensor("logits/kernel")
