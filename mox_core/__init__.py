"""mox: MoXing-style training on today's TensorFlow. `import mox_core as mox`, then `mox.run(...)`.

Every public name is imported on first use, so that `import mox_core` stays fast: the names of the core in
`public_names`, then the names that installed plugins offer by the hook `mox_api`. Three modules are imported at once:
absl must know mox's flags before a script parses its own, TensorFlow's first words are those of its import, and errors
are shown from the first one on.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import mox_core.flags  # noqa: F401  (at once: see above)
from mox_core import chatter, error_display
from mox_core.public_names import HOMES

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
    from mox_core.engine.input.dataset_source import get_next
    from mox_core.engine.model.tracing import get_collection
    from mox_core.engine.variables.var_scope import var_scope
    from mox_core.errors import (
        CheckpointError,
        ClusterError,
        DataError,
        LogDirError,
        MoxError,
        NanLossError,
        PluginError,
        UnknownNameError,
        UsageError,
    )
    from mox_core.flags import get_flag, set_flag
    from mox_core.modes import ModeKeys
    from mox_core.run_result import RunResult
    from mox_core.runner import run
    from mox_core.session_hooks import AggregativeSessionRunHook, Hook
    from mox_core.specs import ExportSpec, InputSpec, ModelSpec
    from mox_core.strings import bytes_to_sequence, sequence_to_bytes

    __version__: str

__all__ = [  # literal, for type checkers; a test compares it with HOMES
    "AggregativeSessionRunHook",
    "CheckpointError",
    "ClusterError",
    "DataError",
    "ExportKeys",
    "ExportSpec",
    "Hook",
    "InputSpec",
    "LogDirError",
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

chatter.leave_out()
error_display.install()


def __getattr__(name: str) -> Any:
    """Import a public name of the core or of a plugin."""
    if name in HOMES:
        value = getattr(importlib.import_module(HOMES[name]), name)
        globals()[name] = value
        return value
    if name == "__version__":
        from mox_core.version import version  # noqa: PLC0415  (as everything else: see above)

        return version()
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}"):
        # Python itself asks for these: special names, and modules just before it imports them.
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mox_core import catalog  # noqa: PLC0415

    return catalog.get_public_object(name, core_names=HOMES)


def __dir__() -> list[str]:
    from mox_core import catalog  # noqa: PLC0415

    return sorted({*__all__, "__version__", *catalog.public_names()})
