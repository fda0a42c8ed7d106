"""examples/model_library.py: networks by name, weight decay, the size of an exported network."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

EXAMPLE = Path(__file__).parents[2] / "examples" / "model_library.py"


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


def test_the_exported_network_has_the_size_of_its_meta_and_the_loss_is_cross_entropy_and_weight_decay(
    example, tmp_path, capsys
):
    result = example["main"](tmp_path)
    printed = capsys.readouterr().out
    assert "resnet_v1_20" in printed.partition("\n")[0]
    assert "default_image_size=32" in printed

    values = tf.train.load_checkpoint(result.checkpoint)
    # The L2 loss of the kernels that the last step saw: by hand from the checkpoint, one small step later.
    kernels = [values.get_tensor(name) for name in values.get_variable_to_shape_map() if name.endswith("/weights")]
    decay = example["WEIGHT_DECAY"] * sum(np.sum(np.square(kernel)) / 2 for kernel in kernels)
    assert len(kernels) == 20  # one a layer; shortcuts have none
    assert result.metrics["weight_decay"] == pytest.approx(decay, rel=0.01)

    signature = tf.saved_model.load(result.export_path).signatures["serving_default"]
    assert signature(images=tf.zeros([2, 32, 32, 3]))["logits"].shape == (2, 10)
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not compatible with expected shape"):
        signature(images=tf.zeros([2, 40, 40, 3]))
