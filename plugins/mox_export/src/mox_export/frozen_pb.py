"""`ExportKeys.FROZEN_PB`: one file with the graph and its weights as constants."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mox_export.graphs import freeze

if TYPE_CHECKING:
    from mox_core.sdk import ExportedModel

FILE = "frozen_graph.pb"


class _FrozenPb:
    """The exporter: `FILE` is a serialized `tf.compat.v1.GraphDef` whose nodes have the names of inputs and outputs."""

    def check(self, model: ExportedModel) -> None:
        """Raise UsageError if the model cannot become one graph without variables."""
        freeze(model)

    def __call__(self, model: ExportedModel, directory: str) -> None:
        """Write the file.

        Args:
            model: the model.
            directory: an empty folder.

        Raises:
            UsageError: if a name cannot be that of a node, or the model cannot be exported.
        """
        Path(directory, FILE).write_bytes(freeze(model).SerializeToString(deterministic=True))


export = _FrozenPb()
