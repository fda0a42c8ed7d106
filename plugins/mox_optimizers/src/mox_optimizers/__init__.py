"""The optimizers of TensorFlow 1 by name, wrappers of optimizers, and learning rates, for mox.

Nothing is imported here: `plugin.py` names what this distribution offers, and mox imports it on first use.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """Import the module `learning_rate_scheduler` on first use."""
    if name != "learning_rate_scheduler":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
