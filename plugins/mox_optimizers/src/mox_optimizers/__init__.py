"""The optimizers of TensorFlow 1 by name, wrappers of optimizers, and learning rates, for mox.

Nothing is imported here: `plugin.py` names what this distribution offers, and mox imports it when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """Import the module that `mox.learning_rate_scheduler` stands for when it is asked for."""
    if name != "learning_rate_scheduler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
