"""The number of parameters of a network, which is built by TensorFlow as in a run."""

from __future__ import annotations

from typing import Any

import tensorflow as tf  # noqa: TID253  (imported only where parameters are counted)

from mox_core.catalog import get_model_fn
from mox_core.engine.model.tracing import trace_model
from mox_core.engine.tf_patches.run_scope import run_scope
from mox_core.engine.variables.run_state import RunState
from mox_core.modes import ModeKeys
from mox_core.specs import ModelSpec


def count(name: str, *, num_classes: int, image_size: int) -> tuple[int, int]:
    """Return the numbers of trainable and of non-trainable parameters of a network.

    Args:
        name: the name of the network in `mox.get_model_fn`.
        num_classes: number of classes.
        image_size: height and width of the images in pixels, on which the size of a dense layer may depend.
    """

    def model_fn(inputs: list[Any], mode: str) -> ModelSpec:
        logits, _ = get_model_fn(name, run_mode=mode, num_classes=num_classes)(inputs[0])
        return ModelSpec(output_info={"logits": logits})

    with run_scope():
        state = RunState(seed=0, num_positions=1)
        images = tf.TensorSpec([1, image_size, image_size, 3], tf.float32)
        trace_model(model_fn, ModeKeys.PREDICT, state, [images])
        variables = state.store.by_name.values()
    trainable = sum(variable.shape.num_elements() for variable in variables if variable.trainable)
    return trainable, sum(variable.shape.num_elements() for variable in variables) - trainable
