"""mox: MoXing-style training on today's TensorFlow. `import mox_core as mox`, then `mox.run(...)`.

Every public name is looked up on first use, so that importing mox stays fast: the names of the core in the table below,
then the names that installed plugins offer through the hook `mox_api`. Only `mox_core.flags` is imported at once: absl
must know mox's flags before a script parses its own.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final

import mox_core.flags  # noqa: F401  (at once: see above)

if TYPE_CHECKING:
    from mox_core.catalog import (
        ExportKeys,
        NetworkKeys,
        OptimizerKeys,
        PreprocessingKeys,
        get_data_augmentation_fn,
        get_dataset,
        get_dataset_meta,
        get_model_fn,
        get_model_meta,
        get_optimizer_fn,
        get_optimizer_wrapper_fn,
    )
    from mox_core.engine.iterators import get_next
    from mox_core.engine.modelgraph import get_collection
    from mox_core.engine.var_scope import var_scope
    from mox_core.errors import (
        CheckpointError,
        ClusterError,
        DataError,
        MoxError,
        NanLossError,
        PluginError,
        UnknownNameError,
        UsageError,
    )
    from mox_core.flags import get_flag, set_flag
    from mox_core.modes import ModeKeys
    from mox_core.runner import RunResult, run
    from mox_core.session_hooks import AggregativeSessionRunHook
    from mox_core.specs import ExportSpec, ModelSpec
    from mox_core.strings import bytes_to_sequence, sequence_to_bytes

    __version__: str

_HOMES: Final = {
    "AggregativeSessionRunHook": "mox_core.session_hooks",
    "CheckpointError": "mox_core.errors",
    "ClusterError": "mox_core.errors",
    "DataError": "mox_core.errors",
    "ExportKeys": "mox_core.catalog",
    "ExportSpec": "mox_core.specs",
    "ModeKeys": "mox_core.modes",
    "ModelSpec": "mox_core.specs",
    "MoxError": "mox_core.errors",
    "NanLossError": "mox_core.errors",
    "NetworkKeys": "mox_core.catalog",
    "OptimizerKeys": "mox_core.catalog",
    "PluginError": "mox_core.errors",
    "PreprocessingKeys": "mox_core.catalog",
    "RunResult": "mox_core.runner",
    "UnknownNameError": "mox_core.errors",
    "UsageError": "mox_core.errors",
    "bytes_to_sequence": "mox_core.strings",
    "get_collection": "mox_core.engine.modelgraph",
    "get_data_augmentation_fn": "mox_core.catalog",
    "get_dataset": "mox_core.catalog",
    "get_dataset_meta": "mox_core.catalog",
    "get_flag": "mox_core.flags",
    "get_model_fn": "mox_core.catalog",
    "get_model_meta": "mox_core.catalog",
    "get_next": "mox_core.engine.iterators",
    "get_optimizer_fn": "mox_core.catalog",
    "get_optimizer_wrapper_fn": "mox_core.catalog",
    "run": "mox_core.runner",
    "sequence_to_bytes": "mox_core.strings",
    "set_flag": "mox_core.flags",
    "var_scope": "mox_core.engine.var_scope",
}
"""The public names of the core, and the modules they live in."""

__all__ = [  # literal, for type checkers; a test compares it with _HOMES
    "AggregativeSessionRunHook",
    "CheckpointError",
    "ClusterError",
    "DataError",
    "ExportKeys",
    "ExportSpec",
    "ModeKeys",
    "ModelSpec",
    "MoxError",
    "NanLossError",
    "NetworkKeys",
    "OptimizerKeys",
    "PluginError",
    "PreprocessingKeys",
    "RunResult",
    "UnknownNameError",
    "UsageError",
    "bytes_to_sequence",
    "get_collection",
    "get_data_augmentation_fn",
    "get_dataset",
    "get_dataset_meta",
    "get_flag",
    "get_model_fn",
    "get_model_meta",
    "get_next",
    "get_optimizer_fn",
    "get_optimizer_wrapper_fn",
    "run",
    "sequence_to_bytes",
    "set_flag",
    "var_scope",
]


def __getattr__(name: str) -> Any:
    """Find a public name where the table or a plugin says it lives."""
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name == "__version__":
        from importlib_metadata import version  # noqa: PLC0415  (kept out of the import of mox)

        return version("mox-core")
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}"):
        # Python itself asks for these: special names, and modules just before it imports them.
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mox_core import catalog  # noqa: PLC0415

    return catalog.get_public_object(name, core_names=_HOMES)


def __dir__() -> list[str]:
    from mox_core import catalog  # noqa: PLC0415

    return sorted({*__all__, "__version__", *catalog.public_names()})
