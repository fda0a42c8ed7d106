"""The scopes of Keras in which variables are not what they are elsewhere."""

from __future__ import annotations

import importlib
import sys


def in_stateless_scope() -> bool:
    """Whether a `keras.StatelessScope` is entered, in which Keras makes no variable and assigns to none."""
    if "keras" not in sys.modules:
        return False
    return bool(importlib.import_module("keras.src.backend.common.stateless_scope").in_stateless_scope())
