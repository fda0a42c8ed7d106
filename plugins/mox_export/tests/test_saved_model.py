"""`ExportKeys.TF_SERVING`: a SavedModel that needs no mox, with the user's names, and the logits of PREDICT."""

import json
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

import forked
import mox_core as mox

IMAGES = np.random.default_rng(3).normal(size=(30, 6, 6, 1)).astype(np.float32)
LABELS = (IMAGES.mean((1, 2, 3)) > 0).astype(np.int64)


def _input_fn(mode):
    dataset = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS))
    return dataset.repeat() if mode == mox.ModeKeys.TRAIN else dataset


def _model_fn(inputs, mode):
    """get_variable, Keras layers and batch normalization, with a device, a branch and a custom gradient (silu)."""
    images, labels = inputs
    training = mode == mox.ModeKeys.TRAIN
    with tf.device("/cpu:0"):
        x = keras.layers.Conv2D(4, 3)(images)
        x = keras.layers.BatchNormalization(momentum=0.5)(x, training=training)
        x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(tf.nn.silu(x)), training=training)
        weights = tf.compat.v1.get_variable("head/weights", [64, 2])
        logits = keras.layers.Dense(2)(x) + x @ weights
        logits = tf.cond(tf.size(images) > 0, lambda: 1.0 * logits, lambda: logits)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    return mox.ModelSpec(
        loss=loss,
        output_info={"logits": logits},
        export_spec=mox.ExportSpec({"Images": images}, {"logits": logits, "class": tf.argmax(logits, 1)}),
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of the exported model, and the logits of PREDICT."""
    log_dir = tmp_path_factory.mktemp("run") / "log"
    trained = mox.run(
        input_fn=_input_fn,
        model_fn=_model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.MomentumOptimizer(0.05, 0.9),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=8,
        log_dir=log_dir,
        max_number_of_steps=12,
        export_model=mox.ExportKeys.TF_SERVING,
    )
    windows = []
    mox.run(
        input_fn=_input_fn,
        model_fn=_model_fn,
        output_fn=windows.extend,
        output_every_n_steps=1,
        run_mode=mox.ModeKeys.PREDICT,
        batch_size=7,
        checkpoint_path=log_dir,
    )
    return trained.export_path, np.concatenate([step["logits"] for step in windows])


def test_a_process_without_mox_gets_the_logits_of_predict(exported, tmp_path):
    path, expected = exported
    np.save(tmp_path / "images.npy", IMAGES)
    program = """
import json, sys
sys.modules["mox_core"] = sys.modules["mox_export"] = None  # importing either would raise
import numpy as np
import tensorflow as tf

path, folder = sys.argv[1:]
model = tf.saved_model.load(path)
images = np.load(folder + "/images.npy")
answers = {name: model.signatures[name](Images=tf.constant(images)) for name in model.signatures}
one = model.signatures["serving_default"](Images=tf.constant(images[:1]))
_, inputs = model.signatures["serving_default"].structured_input_signature
print(json.dumps({
    "logits": {name: answer["logits"].numpy().tolist() for name, answer in answers.items()},
    "class": answers["serving_default"]["class"].numpy().tolist(),
    "of one": one["logits"].numpy().tolist(),
    "inputs": {name: str(spec.shape) for name, spec in inputs.items()},
    "mox": [name for name, module in sys.modules.items() if name.startswith("mox") and module],
}))
"""
    done = forked.run([sys.executable, "-c", program, path, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    got = json.loads(done.stdout)
    assert got["mox"] == []
    assert got["inputs"] == {"Images": "(None, 6, 6, 1)"}
    assert sorted(got["logits"]) == ["predict_object", "serving_default"]
    for logits in got["logits"].values():
        np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(got["of one"], expected[:1], atol=1e-5, rtol=1e-5)
    assert got["class"] == expected.argmax(1).tolist()
    assert np.ptp(expected) > 0.1, "the logits say nothing"


def test_the_files_are_those_that_tensorflow_serving_looks_for(exported):
    path, _ = exported
    found = {str(file.relative_to(path)) for file in Path(path).rglob("*")}
    assert found >= {"saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"}
    assert tf.saved_model.contains_saved_model(path)


def test_no_op_of_the_saved_graph_has_a_device(exported):
    path, _ = exported
    saved = saved_model_pb2.SavedModel.FromString(Path(path, "saved_model.pb").read_bytes())
    nodes = [
        node
        for meta_graph in saved.meta_graphs
        for nodes in (meta_graph.graph_def.node, *(f.node_def for f in meta_graph.graph_def.library.function))
        for node in nodes
    ]
    assert {node.op for node in nodes} >= {"Conv2D", "MatMul", "StatelessIf"}
    assert {node.device for node in nodes} == {""}


def test_the_fingerprint_is_that_of_the_file_without_devices(exported, tmp_path):
    path, _ = exported
    shutil.copytree(path, tmp_path / "copy")
    (tmp_path / "copy" / "fingerprint.pb").unlink()
    fingerprinting_utils.write_fingerprint(str(tmp_path / "copy"))
    read = tf.saved_model.experimental.read_fingerprint
    assert read(path).saved_model_checksum == read(str(tmp_path / "copy")).saved_model_checksum


def test_the_saved_model_holds_the_variables_of_the_model_and_no_others(exported):
    path, _ = exported
    names = [name for name, _ in tf.train.list_variables(Path(path, "variables", "variables"))]
    # kernel and bias of two layers, the four of the batch normalization, head/weights: no momentum, no step
    assert len([name for name in names if name.startswith("kept/")]) == 4 + 4 + 1, names


def test_tensorflow_1_style_loading_finds_the_signatures(exported):
    path, expected = exported
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph = tf.compat.v1.saved_model.load(session, ["serve"], path)
        signature = meta_graph.signature_def["predict_object"]
        assert sorted(signature.inputs) == ["Images"]
        assert sorted(signature.outputs) == ["class", "logits"]
        assert signature.method_name == "tensorflow/serving/predict"
        logits = session.run(signature.outputs["logits"].name, {signature.inputs["Images"].name: IMAGES})
    np.testing.assert_allclose(logits, expected, atol=1e-5, rtol=1e-5)


def _batched_input_fn(mode):
    return _input_fn(mode).batch(4, drop_remainder=True)


@pytest.mark.parametrize(
    ("input_fn", "auto_batch", "size"), [(_input_fn, True, None), (_batched_input_fn, False, 4)], ids=["True", "False"]
)
def test_the_batch_dimension_is_open_with_auto_batch_and_the_trainings_without(input_fn, auto_batch, size, tmp_path):
    result = mox.run(
        input_fn=input_fn,
        model_fn=_model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.GradientDescentOptimizer(0.05),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=4,
        auto_batch=auto_batch,
        log_dir=tmp_path,
        max_number_of_steps=1,
        export_model=mox.ExportKeys.TF_SERVING,
    )
    signature = tf.saved_model.load(result.export_path).signatures["serving_default"]
    _, inputs = signature.structured_input_signature
    assert inputs["Images"].shape.as_list() == [size, 6, 6, 1]
    assert signature.structured_outputs["logits"].shape.as_list() == [size, 2]


def test_runs_of_training_and_of_validation_lay_versions_side_by_side(exported, trained, tmp_path):
    path, _ = exported
    base = tmp_path / "base"
    shutil.copytree(path, base / "1")
    (base / "99").mkdir()
    export = trained.run(mox.ModeKeys.EVAL, log_dir=base, export_model=mox.ExportKeys.TF_SERVING).export_path
    assert export == str(base / "100")
    # TensorFlow Serving takes every folder whose name is a number for a version, and the highest for the current one.
    assert sorted(folder.name for folder in base.iterdir() if folder.name.isdecimal()) == ["1", "100", "99"]
    files = {"saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"}
    for version in ("1", "100"):
        assert files <= {str(file.relative_to(base / version)) for file in (base / version).rglob("*")}


def test_variables_of_tf_variable_and_of_tf1s_adam_export_too(tmp_path):
    def model_fn(inputs, mode):
        spec = _model_fn(inputs, mode)
        scale = tf.Variable(2.0, name="scale")
        logits = spec.export_spec.outputs_dict["logits"] * scale
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(inputs[1], logits))
        export_spec = mox.ExportSpec({"images": inputs[0]}, {"logits": logits, "scale": tf.identity(scale)})
        return mox.ModelSpec(loss=loss, export_spec=export_spec)

    result = mox.run(
        input_fn=_input_fn,
        model_fn=model_fn,
        optimizer_fn=lambda: tf.compat.v1.train.AdamOptimizer(0.1),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=8,
        log_dir=tmp_path,
        max_number_of_steps=1,
        export_model=mox.ExportKeys.TF_SERVING,
    )
    signature = tf.saved_model.load(result.export_path).signatures["serving_default"]
    scale = float(signature(images=tf.constant(IMAGES))["scale"])
    assert abs(scale - 2.0) == pytest.approx(0.1, rel=1e-3), "Adam's first step is its learning rate"
