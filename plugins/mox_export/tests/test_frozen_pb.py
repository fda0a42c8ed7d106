"""`ExportKeys.FROZEN_PB`: one file without variables, which plain TensorFlow imports and feeds by the user's names."""

import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture(scope="module")
def exported(trained):
    return trained.export("FROZEN_PB")


@pytest.fixture(scope="module")
def graph_def(exported):
    return tf.compat.v1.GraphDef.FromString((exported / "frozen_graph.pb").read_bytes())


def _nodes(graph_def):
    return [*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def)]


def test_it_is_one_file(exported):
    assert [path.name for path in exported.rglob("*")] == ["frozen_graph.pb"]


def test_a_process_without_mox_imports_it_and_gets_the_logits_of_predict(exported, trained, run_without, tmp_path):
    np.save(tmp_path / "images.npy", trained.images)
    program = """
import json
import numpy as np
import tensorflow as tf

graph_def = tf.compat.v1.GraphDef.FromString(open(sys.argv[1], "rb").read())
images = np.load(sys.argv[2])
with tf.Graph().as_default() as graph:
    tf.import_graph_def(graph_def, name="")
    with tf.compat.v1.Session() as session:
        in_session, classes = session.run(["conv:0", "model:0"], {"Images:0": images})
wrapped = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
model = wrapped.prune("Images:0", "conv:0")
print(json.dumps({
    "session": in_session.tolist(), "function": model(tf.constant(images)).numpy().tolist(),
    "one": model(tf.constant(images[:1])).numpy().tolist(), "classes": classes.tolist(),
    "shapes": [str(graph.get_tensor_by_name(name).shape) for name in ("Images:0", "conv:0", "model:0")],
}))
"""
    file = exported / "frozen_graph.pb"
    got = run_without(["mox_core", "mox_export", "keras"], program, file, tmp_path / "images.npy")
    for name, expected in (("session", trained.logits), ("function", trained.logits), ("one", trained.logits[:1])):
        np.testing.assert_allclose(got[name], expected, atol=1e-4, rtol=0)
    assert got["classes"] == trained.logits.argmax(1).tolist()
    assert got["shapes"] == ["(None, 6, 6, 1)", "(None, 2)", "(None,)"]


def test_it_holds_no_variable_no_device_and_no_input_but_those_of_the_spec(graph_def):
    nodes = _nodes(graph_def)
    assert {node.op for node in nodes} >= {"Conv2D", "MatMul", "Const"}
    assert {node.op for node in nodes} & {"VarHandleOp", "ReadVariableOp", "VariableV2", "RestoreV2"} == set()
    assert {node.device for node in nodes} == {""}
    assert [node.name for node in nodes if node.op == "Placeholder"] == ["Images"]


@pytest.mark.parametrize("name", ["my logits", "/y", "a:0", "类"])
def test_output_names_that_no_node_can_have_are_refused(refusal, name):
    assert refusal("FROZEN_PB", lambda x: {name: 2 * x}) == (
        f"ExportSpec has the name {name!r}; in this format names are names of nodes: they hold letters, digits "
        "and '_', '-', '.', and begin with a letter, a digit or '.'."
    )


@pytest.mark.parametrize("name", ["x", "X"])
def test_an_output_with_the_name_of_an_input_is_refused(refusal, name):
    assert refusal("FROZEN_PB", lambda x: {name: 2 * x}) == (
        f"ExportSpec has the names 'x' and {name!r}; in this format inputs and outputs are nodes of one graph, whose "
        "names differ in more than upper and lower case: rename one of them."
    )
