"""What authors of plugins build on beside the names on `mox.`: it stays as it is, while `mox_core.engine` may change.

It imports TensorFlow: a plugin's entry module (`plugin.py`) names what uses it, and does not import it.
"""

from __future__ import annotations

from mox_core.engine.export import ExportedModel
from mox_core.engine.hooks import hook_variable
from mox_core.engine.sources import SampleSource
from mox_core.engine.updates import (
    OptimizerWrapper,
    apply_if,
    independent_workers,
    learning_rate_of,
    slot,
    state_variable,
    sum_over_workers,
)

__all__ = [
    "ExportedModel",
    "OptimizerWrapper",
    "SampleSource",
    "apply_if",
    "hook_variable",
    "independent_workers",
    "learning_rate_of",
    "slot",
    "state_variable",
    "sum_over_workers",
]
