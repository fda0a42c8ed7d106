"""The exporters keep to the contract of the kit."""

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from onnxruntime import InferenceSession

from mox_core.testing import ExporterContract

OUTPUTS = ["logits", "score"]


class TestTfServing(ExporterContract):
    exporter = "TF_SERVING"

    def predict(self, folder, inputs):
        signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
        return signature(**{name: tf.constant(value) for name, value in inputs.items()})


class TestFrozenPb(ExporterContract):
    exporter = "FROZEN_PB"

    def predict(self, folder, inputs):
        graph = tf.compat.v1.GraphDef.FromString((folder / "frozen_graph.pb").read_bytes())
        with tf.Graph().as_default():
            tf.compat.v1.import_graph_def(graph, name="")
            with tf.compat.v1.Session() as session:
                fed = {f"{name}:0": value for name, value in inputs.items()}
                return session.run({name: f"{name}:0" for name in OUTPUTS}, fed)


class TestTflite(ExporterContract):
    exporter = "TFLITE"

    def predict(self, folder, inputs):
        runner = Interpreter(model_path=str(folder / "model.tflite")).get_signature_runner("serving_default")
        return {name: np.array(value) for name, value in runner(**inputs).items()}


class TestOnnx(ExporterContract):
    exporter = "ONNX"

    def predict(self, folder, inputs):
        session = InferenceSession(str(folder / "model.onnx"))
        return dict(zip(OUTPUTS, session.run(OUTPUTS, inputs), strict=True))
