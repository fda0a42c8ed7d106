"""`ExportKeys.TF_SERVING`: a SavedModel with the user's names on its inputs and outputs."""

from __future__ import annotations

import contextlib
import itertools
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils  # type: ignore[attr-defined]  # not in the stubs

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
    _clear_devices(Path(directory))


def _clear_devices(directory: Path) -> None:
    """Lets the model run on any machine: `tf.device` in `model_fn` leaves its mark on every op."""
    file = directory / "saved_model.pb"
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in saved.meta_graphs:
        graph = meta_graph.graph_def
        for node in itertools.chain(graph.node, *(function.node_def for function in graph.library.function)):
            node.ClearField("device")
    file.write_bytes(saved.SerializeToString(deterministic=True))
    fingerprinting_utils.write_fingerprint(str(directory))  # it holds a checksum of the file


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logger = tf.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
