"""The module `mox.auto`, with the names of MoXing's."""

from __future__ import annotations

from mox_auto.running import run
from mox_auto.searching import search
from mox_auto.specs import ModelSize, ParamSpec

__all__ = ["ModelSize", "ParamSpec", "run", "search"]
