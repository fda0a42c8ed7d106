"""`ExportKeys.TFLITE`: one file that the LiteRT runtime runs without TensorFlow, on batches of any size."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

SEQUENCES = np.random.default_rng(2).normal(size=[5, 4, 3]).astype(np.float32)


def lstm(x, *, unroll=False):
    """A recurrent layer whose weights are all the same number."""
    same = keras.initializers.Constant(0.3)
    return keras.layers.LSTM(2, kernel_initializer=same, recurrent_initializer=same, unroll=unroll)(x)


@pytest.fixture(scope="module")
def exported(trained):
    return trained.export("TFLITE")


def test_it_is_one_file(exported):
    assert [path.name for path in exported.rglob("*")] == ["model.tflite"]


def test_a_process_with_nothing_but_litert_gets_the_logits_of_predict(exported, trained, run_without, tmp_path):
    np.save(tmp_path / "images.npy", trained.images)
    program = """
import json
import numpy as np
from ai_edge_litert.interpreter import Interpreter

images = np.load(sys.argv[2])
interpreter = Interpreter(model_path=sys.argv[1])
model = interpreter.get_signature_runner("serving_default")
answer = model(Images=images)
by_hand = Interpreter(model_path=sys.argv[1])
(given,) = by_hand.get_input_details()
by_hand.resize_tensor_input(given["index"], images.shape)
by_hand.allocate_tensors()
by_hand.set_tensor(given["index"], images)
by_hand.invoke()
print(json.dumps({
    "signatures": interpreter.get_signature_list(), "logits": answer["conv"].tolist(),
    "classes": answer["model"].tolist(), "one": model(Images=images[:1])["conv"].tolist(),
    "shape": given["shape_signature"].tolist(),
    "resized": [by_hand.get_tensor(each["index"]).tolist() for each in by_hand.get_output_details()],
}))
"""
    file = exported / "model.tflite"
    got = run_without(["mox_core", "mox_export", "tensorflow", "keras"], program, file, tmp_path / "images.npy")
    assert got["signatures"] == {"serving_default": {"inputs": ["Images"], "outputs": ["conv", "model"]}}
    assert got["shape"] == [-1, 6, 6, 1]
    logits = next(each for each in got["resized"] if np.ndim(each) == 2)
    for given, expected in (
        (got["logits"], trained.logits),
        (logits, trained.logits),
        (got["one"], trained.logits[:1]),
    ):
        np.testing.assert_allclose(given, expected, atol=1e-4, rtol=0)
    assert got["classes"] == trained.logits.argmax(1).tolist()


@pytest.mark.parametrize(
    ("op", "outputs", "dtype"),
    [
        ("StringLength", lambda x: {"y": tf.strings.length(x)}, str),
        ("Svd", lambda x: {"y": tf.linalg.svd(x)[0]}, np.float32),
        ("Mul", lambda x: {"y": 2 * x}, np.float64),
    ],
    ids=["strings", "an op without a kernel", "float64"],
)
def test_what_litert_cannot_do_is_refused_by_the_name_of_the_op(refusal, op, outputs, dtype):
    assert refusal("TFLITE", outputs, dtype=dtype) == (
        f"LiteRT does not know {op}, or not for the types that the model uses. In mode EXPORT, compute the outputs "
        "with other ops and in float32, or choose another format of mox.ExportKeys."
    )


def test_recurrent_layers_on_batches_of_any_size_are_refused_with_the_ways_out(refusal):
    assert refusal("TFLITE", lambda x: {"y": keras.layers.LSTM(2)(x)}) == (
        "LiteRT runs loops over lists of tensors, such as recurrent layers, on batches of one size only: give the "
        "layers unroll=True, export with auto_batch=False and batches of one size, or choose another format of "
        "mox.ExportKeys."
    )


def test_an_unrolled_recurrent_layer_takes_batches_of_any_size(export):
    folder = export("TFLITE", lambda x: {"y": lstm(x, unroll=True)}, SEQUENCES)
    runner = Interpreter(model_path=str(folder / "model.tflite")).get_signature_runner("serving_default")
    np.testing.assert_allclose(runner(x=SEQUENCES)["y"], lstm(SEQUENCES), atol=1e-4, rtol=0)
