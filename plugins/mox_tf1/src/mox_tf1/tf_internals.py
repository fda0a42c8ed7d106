"""What mox-tf1 uses of TensorFlow that has no public name."""

from __future__ import annotations

import importlib
from typing import Any

import tensorflow as tf


def legacy_part(name: str) -> Any:
    """Return the module in which TensorFlow itself finds `tf.layers` ('layers') or `tf.nn.rnn_cell` with tf_keras."""
    return importlib.import_module(f"tf_keras.api._v1.keras.__internal__.legacy.{name}")


def private_modules() -> Any:
    """Return the package of TensorFlow's private modules, which scripts import from at their own risk."""
    return importlib.import_module("tensorflow.python")


def read_global_step() -> None:
    """Put a tensor of the global step into the present graph, where session hooks of TensorFlow look for one."""
    key = "global_step_read_op_cache"
    graph = tf.compat.v1.get_default_graph()
    if not graph.get_collection_ref(key):
        graph.add_to_collection(key, tf.identity(tf.compat.v1.train.get_global_step()))
