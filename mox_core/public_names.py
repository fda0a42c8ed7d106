"""The public names of the core: `mox.run`, `mox.ModelSpec` and the like."""

from __future__ import annotations

from typing import Final

HOMES: Final = {
    "AggregativeSessionRunHook": "mox_core.session_hooks",
    "CheckpointError": "mox_core.errors",
    "ClusterError": "mox_core.errors",
    "DataError": "mox_core.errors",
    "ExportKeys": "mox_core.catalog",
    "ExportSpec": "mox_core.specs",
    "Hook": "mox_core.session_hooks",
    "InputSpec": "mox_core.specs",
    "LogDirError": "mox_core.errors",
    "ModeKeys": "mox_core.modes",
    "ModelSpec": "mox_core.specs",
    "MoxError": "mox_core.errors",
    "NanLossError": "mox_core.errors",
    "NetworkKeys": "mox_core.catalog",
    "OptimizerKeys": "mox_core.catalog",
    "PluginError": "mox_core.errors",
    "PreprocessingKeys": "mox_core.catalog",
    "RunResult": "mox_core.run_result",
    "UnknownNameError": "mox_core.errors",
    "UsageError": "mox_core.errors",
    "bytes_to_sequence": "mox_core.strings",
    "get_collection": "mox_core.engine.model.tracing",
    "get_data_augmentation_fn": "mox_core.catalog",
    "get_dataset": "mox_core.catalog",
    "get_dataset_meta": "mox_core.catalog",
    "get_flag": "mox_core.flags",
    "get_model_fn": "mox_core.catalog",
    "get_model_meta": "mox_core.catalog",
    "get_next": "mox_core.engine.input.dataset_source",
    "get_optimizer_fn": "mox_core.catalog",
    "get_optimizer_wrapper_fn": "mox_core.catalog",
    "run": "mox_core.runner",
    "sequence_to_bytes": "mox_core.strings",
    "set_flag": "mox_core.flags",
    "var_scope": "mox_core.engine.variables.var_scope",
}
"""The public names of the core, and the modules they live in."""
