"""The distribution as a plugin of mox."""

from mox_core.testing import PluginContract


class TestPlugin(PluginContract):
    plugin_name = "optimizers"
