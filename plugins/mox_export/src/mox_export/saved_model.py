"""`ExportKeys.TF_SERVING`: a SavedModel with the user's names on its inputs and outputs."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mox_core.engine.export import ExportedModel

SIGNATURES = ("serving_default", "predict_object")
"""The name that TensorFlow Serving asks for by itself, and the one that clients of the original ask for."""


class _Module(tf.Module):
    """Holds the variables, so that they are saved."""

    def __init__(self, variables: tuple[tf.Variable, ...]) -> None:
        super().__init__()
        self.kept = variables


def export(model: ExportedModel, directory: str) -> None:
    """Writes a SavedModel with the signatures of `SIGNATURES`, which are one function.

    Args:
        model: what is exported.
        directory: an empty folder.
    """
    module = _Module(model.variables)
    # The names of a signature's inputs come from its arguments, those of its outputs from the keys of its result.
    function = tf.function(model.function, autograph=False)
    signature = function.get_concrete_function(**model.inputs)
    with _quiet():  # TensorFlow names the folder, which is not the final one
        tf.saved_model.save(module, directory, signatures=dict.fromkeys(SIGNATURES, signature))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
