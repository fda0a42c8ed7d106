"""`tf.contrib.predictor`: an exported model as a function of arrays."""

from __future__ import annotations

import os
from typing import Any

import tensorflow as tf

from mox_core.errors import UsageError


class Predictor:
    """A signature of an exported model, called with a dict of arrays.

    Args:
        export_dir: the folder of the model.
        signature_def_key: the signature; the default one, if not given.
    """

    def __init__(self, export_dir: str | bytes, signature_def_key: str | None = None) -> None:
        self._model = tf.saved_model.load(os.fsdecode(export_dir))
        key = signature_def_key or tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY
        if key not in self._model.signatures:
            raise UsageError(f"the model in {export_dir!r} has no signature {key!r}: {list(self._model.signatures)}.")
        self._function = self._model.signatures[key]
        self.feed_tensors = dict(self._function.structured_input_signature[1])
        self.fetch_tensors = dict(self._function.structured_outputs)

    def __call__(self, input_dict: dict[str, Any]) -> dict[str, Any]:
        """Return the outputs as arrays.

        Args:
            input_dict: an array for each input, by name.
        """
        if input_dict.keys() != self.feed_tensors.keys():
            raise UsageError(f"the model is fed {sorted(self.feed_tensors)}, and was given {sorted(input_dict)}.")
        fed = {name: tf.convert_to_tensor(value, self.feed_tensors[name].dtype) for name, value in input_dict.items()}
        return {name: value.numpy() for name, value in self._function(**fed).items()}


def from_saved_model(
    export_dir: str | bytes, signature_def_key: str | None = None, signature_def: Any = None, tags: Any = None
) -> Predictor:
    """Return a function of arrays.

    Args:
        export_dir: the folder of the model.
        signature_def_key: the signature; the default one, if not given.
        signature_def: refused: a signature has a name.
        tags: without effect: an exported model has one graph.
    """
    del tags
    if signature_def is not None:
        raise UsageError("from_saved_model has a signature_def: pass its name as signature_def_key.")
    return Predictor(export_dir, signature_def_key)
