"""What mox-export uses inside TensorFlow, one test for each name: a new TensorFlow tells here what it has changed."""

import importlib
import inspect

import numpy as np
import pytest
import tensorflow as tf


def find(module, name):
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        pytest.fail(f"TensorFlow renamed {module}.{name}: see mox_export/tf_internals.py")


def test_variables_become_constants():
    name = "convert_variables_to_constants_v2"
    convert = find("tensorflow.python.framework.convert_to_constants", name)
    options = {"lower_control_flow", "aggressive_inlining"}
    assert options <= set(inspect.signature(convert).parameters), f"TensorFlow changed the arguments of {name}"
    from mox_export.tf_internals import variables_to_constants

    factor = tf.Variable(3.0)

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
    def triple(x):
        return tf.cond(x > 0, lambda: x * factor, lambda: x)

    frozen = variables_to_constants(triple.get_concrete_function())
    types = {node.op for node in frozen.graph.as_graph_def().node}
    assert not types & {"VarHandleOp", "ReadVariableOp"}, f"TensorFlow changed {name}: variables are left"
    assert types & {"If", "StatelessIf"}, (
        f"TensorFlow changed {name}: lower_control_flow=False no longer keeps branches"
    )
    (result,) = frozen(tf.constant(2.0))
    assert float(result) == 6.0


def test_the_fingerprint_of_a_saved_model_follows_its_file(tmp_path):
    find("tensorflow.core.protobuf.saved_model_pb2", "SavedModel")
    find("tensorflow.python.saved_model.fingerprinting_utils", "write_fingerprint")
    from mox_export.tf_internals import change_graphs

    module = tf.Module()
    module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([], tf.float32)])
    tf.saved_model.save(module, str(tmp_path))
    written = tf.saved_model.experimental.read_fingerprint(str(tmp_path)).saved_model_checksum
    graphs = []

    def change(graph):
        graph.versions.producer += 1
        graphs.append(graph)

    change_graphs(tmp_path, change)
    assert len(graphs) == 1
    changed = tf.saved_model.experimental.read_fingerprint(str(tmp_path)).saved_model_checksum
    assert changed != written, "TensorFlow changed write_fingerprint: it no longer writes the checksum of the file anew"
    np.testing.assert_array_equal(tf.saved_model.load(str(tmp_path)).double(2.0), 4.0)


def test_the_converter_to_litert_names_the_operations_that_it_cannot_convert():
    kind = find("tensorflow.lite.python.convert_phase", "ConverterError")
    from mox_export.tf_internals import unconverted_ops

    lengths = tf.function(tf.strings.length, input_signature=[tf.TensorSpec([None], tf.string)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([lengths.get_concrete_function()])
    with pytest.raises(Exception) as caught:  # noqa: PT011  (which it is, is the point)
        converter.convert()
    assert type(caught.value) is kind, f"TensorFlow renamed ConverterError: it raises {type(caught.value)}"
    assert hasattr(caught.value, "errors"), "TensorFlow renamed ConverterError.errors, which names the operations"
    assert unconverted_ops(caught.value) == ["StringLength"], "TensorFlow changed what ConverterError.errors holds"
