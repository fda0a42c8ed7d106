"""TF-slim itself, against which networks are checked."""

import sys


def import_tf_slim():
    """Return the package, which looks for the legacy layers of Keras under their name of old."""
    import tf_keras.src.legacy_tf_layers as layers

    names = {"tf_keras.legacy_tf_layers": layers}
    for part in ("base", "convolutional", "core", "normalization", "pooling"):
        names[f"tf_keras.legacy_tf_layers.{part}"] = __import__(f"{layers.__name__}.{part}", fromlist=["x"])
    sys.modules.update(names)
    import tf_slim

    return tf_slim
