"""For the tests of what mox relies on inside TensorFlow: failures that say what has changed, and where it is used."""

import contextlib
import importlib

import pytest
import tensorflow as tf


@contextlib.contextmanager
def relying_on(names, module):
    """Give a module of `tf_internals`, and turn whatever fails in the block into what TensorFlow has changed."""
    try:
        yield importlib.import_module(f"mox_core.engine.tf_internals.{module}")
    except Exception as error:  # noqa: BLE001  (whatever a new release does)
        where = f"mox_core/engine/tf_internals/{module}.py"
        pytest.fail(f"TensorFlow renamed or changed {names}: see {where}\n{type(error).__name__}: {error}")


def wrap(function, *signature):
    """Trace a function as mox does with `model_fn`."""
    return tf.compat.v1.wrap_function(function, list(signature))


def current_graph():
    return tf.compat.v1.get_default_graph()


def ops_of(graph, kind):
    return [op for op in graph.get_operations() if op.type == kind]
