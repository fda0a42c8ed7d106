"""What mox-tf1 uses of TensorFlow that has no public name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import tensorflow as tf

if TYPE_CHECKING:
    from contextlib import AbstractContextManager


def outside_of_graphs() -> AbstractContextManager[Any]:
    """Return a context in which no graph is the default one, whatever is around it.

    `tf.init_scope` leaves graphs of functions only.
    """
    context: AbstractContextManager[Any] = tf.__internal__.eager_context.eager_mode()
    return context


def legacy_part(name: str) -> Any:
    """Return the module in which TensorFlow itself finds `tf.layers` ('layers') or `tf.nn.rnn_cell` with tf_keras."""
    return importlib.import_module(f"tf_keras.api._v1.keras.__internal__.legacy.{name}")


def private_modules() -> Any:
    """Return the package of TensorFlow's private modules, which scripts import from at their own risk."""
    return importlib.import_module("tensorflow.python")
