"""One training that uses everything that mox-shapes adds to mox, each by its name.

    pip install -e examples/extension
    python examples/extension/run.py [folder]

A network learns to tell squares, discs and crosses, and is exported as an array for each of its weights. Then NumPy
alone, without TensorFlow, tells the shapes that were held back.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

import mox_core as mox


def main(folder):
    folder = Path(folder)
    mox.draw_shapes(folder / "shapes")  # a public name
    num_classes = mox.get_dataset_meta("shapes").num_classes

    def input_fn(mode):
        dataset = mox.get_dataset("shapes", "train", str(folder / "shapes"))
        image, label = dataset.get(["image", "label"])
        return mox.get_data_augmentation_fn("shift", mode)(image), label

    def model_fn(inputs, mode):
        images, labels = inputs
        network = mox.get_model_fn("shapes_mlp", run_mode=mode, num_classes=num_classes)
        logits, end_points = network(images)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), labels), tf.float32))
        info = {"loss": loss, "accuracy": accuracy}
        return mox.ModelSpec(
            loss=loss,
            log_info=info,
            hooks=[mox.CsvHook(folder / "training.csv", info, every_n_steps=50)],
            export_spec=mox.ExportSpec({"images": images}, {"predictions": end_points["predictions"]}),
        )

    def optimizer_fn():
        lion = mox.get_optimizer_fn("lion", learning_rate=0.003)()
        return mox.get_optimizer_wrapper_fn("lookahead", lion, period=5)()

    result = mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=32,
        log_dir=folder / "log",
        max_number_of_steps=300,
        log_every_n_steps=100,
        export_model=mox.ExportKeys.WEIGHTS_NPZ,
    )
    accuracy = accuracy_of(np.load(Path(result.export_path, "weights.npz")), np.load(folder / "shapes" / "eval.npz"))
    print(f"accuracy on shapes that were held back, by NumPy alone: {accuracy:.2f}")
    return result, accuracy


def accuracy_of(weights, split):
    """Compute in NumPy what the network computes, on the middle of each image, and return how often it is right."""
    net = split["images"][:, 2:18, 2:18].reshape(-1, 256) / 255
    net = np.maximum(net @ weights["shapes_mlp/hidden/weights"] + weights["shapes_mlp/hidden/bias"], 0)
    logits = net @ weights["shapes_mlp/logits/weights"] + weights["shapes_mlp/logits/bias"]
    return float(np.mean(logits.argmax(1) == split["labels"]))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "extension_run")
