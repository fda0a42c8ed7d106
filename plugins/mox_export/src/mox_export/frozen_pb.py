"""`ExportKeys.FROZEN_PB`: one file that holds the graph with its weights as constants."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mox_export.graphs import freeze

if TYPE_CHECKING:
    from mox_core.sdk import ExportedModel

FILE = "frozen_graph.pb"


class _FrozenPb:
    """Writes `FILE`, a serialized `tf.compat.v1.GraphDef`; the names of the model are names of its nodes."""

    def check(self, model: ExportedModel) -> None:
        """Refuses a model that cannot become one graph without variables."""
        freeze(model)

    def __call__(self, model: ExportedModel, directory: str) -> None:
        """Writes the file.

        Args:
            model: what is exported.
            directory: an empty folder.

        Raises:
            UsageError: where a name cannot be that of a node, or the model does what cannot be exported.
        """
        Path(directory, FILE).write_bytes(freeze(model).SerializeToString(deterministic=True))


export = _FrozenPb()
