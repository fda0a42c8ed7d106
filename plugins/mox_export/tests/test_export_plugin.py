"""mox-export as a plugin."""

import sys

import numpy as np
import pytest
import tensorflow as tf

import forked
import mox_core as mox
from mox_core.testing import PluginContract

FORMATS = ["TF_SERVING", "FROZEN_PB", "TFLITE", "ONNX"]


class TestPlugin(PluginContract):
    plugin_name = "export"


@pytest.mark.parametrize("name", FORMATS)
def test_its_names_stand_on_export_keys(name):
    assert getattr(mox.ExportKeys, name) == name


def test_onnx_without_its_packages_is_refused_before_a_run_with_what_to_install(tmp_path):
    program = """
import sys
sys.modules["tf2onnx"] = None  # importing it raises
import mox_core as mox

try:
    mox.run(
        input_fn=lambda mode: 1 / 0, model_fn=lambda inputs, mode: 1 / 0, run_mode=mox.ModeKeys.EVAL,
        log_dir=sys.argv[1], export_model=mox.ExportKeys.ONNX,
    )
except mox.PluginError as error:
    print(error)
"""
    done = forked.run(
        [sys.executable, "-c", program, str(tmp_path / "log")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == (
        "exporter 'ONNX' cannot be imported from 'mox_export.onnx:export': ImportError: import of tf2onnx halted; None "
        "in sys.modules; ONNX needs more packages: pip install 'mox-export[onnx]'\n"
    )
    assert list(tmp_path.iterdir()) == []


def _python_function(x):
    return tf.cond(tf.size(x) > 0, lambda: tf.numpy_function(np.sin, [x], tf.float32), lambda: x)


def _table(x):
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer([1], [2.0], tf.int64), 0.0)
    return table.lookup(tf.cast(x, tf.int64))


@pytest.mark.parametrize("name", FORMATS)
def test_a_python_function_is_refused_by_every_format(refusal, name):
    assert refusal(name, lambda x: {"y": _python_function(x)}) == (
        "the outputs of ExportSpec call a Python function, in the op 'cond/PyFunc', which is not there where the model "
        "is loaded. In mode EXPORT, use ops of TensorFlow in its place."
    )


@pytest.mark.parametrize("name", FORMATS)
def test_a_table_is_refused_by_every_format(refusal, name):
    assert refusal(name, lambda x: {"y": _table(x)}) == (
        "the outputs of ExportSpec look something up in a table, and a table is not exported. In mode EXPORT, use "
        "tf.gather from a constant, or export outputs from before the table."
    )
