"""`mox.auto`: learning rates, momentum, weight decay and the like, searched by short trainings.

Nothing is imported here: `plugin.py` names what this distribution offers, and mox imports it on first use.
"""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    """Import the module `auto` on first use."""
    if name != "auto":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
