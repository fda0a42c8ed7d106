"""mox-tfds as a plugin."""

from mox_core.testing import PluginContract


class TestPlugin(PluginContract):
    plugin_name = "tfds"
