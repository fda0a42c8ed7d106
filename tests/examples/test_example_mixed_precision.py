"""examples/mixed_precision.py: what computes in half precision, what stays in float32, and that both learn."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox

EXAMPLE = Path(__file__).parents[2] / "examples" / "mixed_precision.py"

pytestmark = pytest.mark.slow


def test_half_precision_learns_the_digits_with_variables_in_float32(tmp_path, capsys):
    found = runpy.run_path(str(EXAMPLE))["main"](tmp_path)
    tf.compat.v1.random.set_random_seed(None)
    assert list(found) == [
        ("resnet", "float16"),
        *(("of_keras", dtype) for dtype in ("float32", "float16", "bfloat16")),
    ]
    # The same batch on the same weights: half precision is rounding, nothing else.
    first_losses = [found["of_keras", dtype]["losses"][0] for dtype in ("float32", "float16", "bfloat16")]
    assert first_losses[1:] == [pytest.approx(first_losses[0], rel=0.01)] * 2
    for (network, dtype), values in found.items():
        assert values["computed"] == {dtype}, network
        assert values["variables"] == {"float32"}, (network, dtype)
        first, last = np.mean(values["losses"][:5]), np.mean(values["losses"][-5:])
        assert last < 0.6 * first, (network, dtype)
    printed = capsys.readouterr().out
    assert 'get_variable gave Tensor("Cast:0", shape=(), dtype=float16)' in printed
    assert "the variable is   <tf.Variable 'half:0' shape=() dtype=float32>" in printed
    assert mox.get_flag("loss_scale") == 1
