"""What the distribution promises to the core."""

from mox_core.testing import PluginContract


class TestPlugin(PluginContract):
    plugin_name = "datasets-raw"
