"""TF-slim itself, against which networks are checked."""

import sys

import tensorflow as tf


def import_tf_slim():
    """Return the package, which looks for the legacy layers of Keras under their name of old."""
    import tf_keras.src.legacy_tf_layers as layers

    names = {"tf_keras.legacy_tf_layers": layers}
    for part in ("base", "convolutional", "core", "normalization", "pooling"):
        names[f"tf_keras.legacy_tf_layers.{part}"] = __import__(f"{layers.__name__}.{part}", fromlist=["x"])
    sys.modules.update(names)
    import tf_slim

    return tf_slim


def run_restored(network, images, checkpoint, results):
    """Return the logits of a network with the values of a checkpoint, which has all of its variables and no others.

    Args:
        network: the network, a function of images.
        images: the images.
        checkpoint: the prefix of the checkpoint.
        results: returns what else is wanted, of a session and the end points.
    """
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        logits, end_points = network(tf.constant(images))
        reader = tf.train.load_checkpoint(checkpoint)
        variables = {variable.op.name: variable for variable in tf.compat.v1.global_variables()}
        assert variables.keys() == reader.get_variable_to_shape_map().keys()
        load({variable.ref(): reader.get_tensor(name) for name, variable in variables.items()}, session)
        return session.run(logits), *results(session, end_points)


def load(values, session):
    """Assign values, by the `ref()` of variables, in one run."""
    assignments = [(variable.deref().initializer, value) for variable, value in values.items()]
    session.run([op for op, _ in assignments], {op.inputs[1]: value for op, value in assignments})
