"""The test kit for plugin authors: contracts to inherit, and fixtures that pytest finds by itself.

A contract is a class of tests. Inherit from it in a class whose name begins with `Test`, and set its attributes:

    from mox_core.testing import NetworkContract, PluginContract

    class TestPlugin(PluginContract):
        plugin_name = "my-plugin"

    class TestNetwork(NetworkContract):
        network = "my_network"
        parameters = 1_234_567

docs/testing-plugins.md describes each contract. `mox check my-plugin` runs those that need no such file.

The fixtures `fresh_plugins` and `install_fake` need no import. Only this package of mox needs pytest; TensorFlow is
imported with the first contract that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("mox_core.testing needs pytest: pip install pytest") from error

if TYPE_CHECKING:
    from mox_core.testing.augmentation import AugmentationContract
    from mox_core.testing.dataset import DatasetContract
    from mox_core.testing.exporter import ExporterContract
    from mox_core.testing.hook import HookContract
    from mox_core.testing.network import NetworkContract
    from mox_core.testing.optimizer import OptimizerContract
    from mox_core.testing.plugin import PluginContract
    from mox_core.testing.tracker import TrackerContract
    from mox_core.testing.wrapper import OptimizerWrapperContract

_HOMES: Final = {
    "AugmentationContract": "mox_core.testing.augmentation",
    "DatasetContract": "mox_core.testing.dataset",
    "ExporterContract": "mox_core.testing.exporter",
    "HookContract": "mox_core.testing.hook",
    "NetworkContract": "mox_core.testing.network",
    "OptimizerContract": "mox_core.testing.optimizer",
    "OptimizerWrapperContract": "mox_core.testing.wrapper",
    "PluginContract": "mox_core.testing.plugin",
    "TrackerContract": "mox_core.testing.tracker",
}

__all__ = [
    "AugmentationContract",
    "DatasetContract",
    "ExporterContract",
    "HookContract",
    "NetworkContract",
    "OptimizerContract",
    "OptimizerWrapperContract",
    "PluginContract",
    "TrackerContract",
]

# Before they are imported, so that a failing assert shows the compared values.
pytest.register_assert_rewrite(*_HOMES.values())


def __getattr__(name: str) -> Any:
    """Import a contract on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
