"""`ExportKeys.ONNX`: one file that ONNX Runtime runs without TensorFlow, on batches of any size."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from onnxruntime import InferenceSession


@pytest.fixture(scope="module")
def exported(trained):
    return trained.export("ONNX")


def test_it_is_one_file(exported):
    assert [path.name for path in exported.rglob("*")] == ["model.onnx"]


def test_a_process_with_nothing_but_onnxruntime_gets_the_logits_of_predict(exported, trained, run_without, tmp_path):
    np.save(tmp_path / "images.npy", trained.images)
    program = """
import json
import numpy as np
import onnxruntime

images = np.load(sys.argv[2])
session = onnxruntime.InferenceSession(sys.argv[1])
logits, classes = session.run(["conv", "model"], {"Images": images})
(given,) = session.get_inputs()
print(json.dumps({
    "input": [given.name, given.shape[1:]], "batch": isinstance(given.shape[0], int), "logits": logits.tolist(),
    "outputs": [each.name for each in session.get_outputs()],
    "classes": classes.tolist(), "one": session.run(["conv"], {"Images": images[:1]})[0].tolist(),
}))
"""
    file = exported / "model.onnx"
    got = run_without(["mox_core", "mox_export", "tensorflow", "keras"], program, file, tmp_path / "images.npy")
    assert (got["input"], got["outputs"], got["batch"]) == (["Images", [6, 6, 1]], ["conv", "model"], False)
    np.testing.assert_allclose(got["logits"], trained.logits, atol=1e-4, rtol=0)
    np.testing.assert_allclose(got["one"], trained.logits[:1], atol=1e-4, rtol=0)
    assert got["classes"] == trained.logits.argmax(1).tolist()


@pytest.mark.parametrize(
    ("op", "outputs", "dtype"),
    [
        ("StringLength", lambda x: {"y": tf.strings.length(x)}, str),
        ("Svd", lambda x: {"y": tf.linalg.svd(x)[0]}, np.float32),
    ],
    ids=["strings", "an op that ONNX lacks"],
)
def test_what_onnx_cannot_do_is_refused_by_the_name_of_the_op(refusal, op, outputs, dtype):
    assert refusal("ONNX", outputs, dtype=dtype) == (
        f"ONNX does not know {op}, or not for the types that the model uses. In mode EXPORT, compute the outputs "
        "with other ops and in float32, or choose another format of mox.ExportKeys."
    )


def test_a_recurrent_layer_takes_batches_of_any_size(export):
    sequences = np.random.default_rng(2).normal(size=[5, 4, 3]).astype(np.float32)
    same = keras.initializers.Constant(0.3)
    options = {"kernel_initializer": same, "recurrent_initializer": same}
    folder = export("ONNX", lambda x: {"y": keras.layers.LSTM(2, **options)(x)}, sequences)
    (answer,) = InferenceSession(str(folder / "model.onnx")).run(["y"], {"x": sequences})
    np.testing.assert_allclose(answer, keras.layers.LSTM(2, **options)(sequences), atol=1e-4, rtol=0)
