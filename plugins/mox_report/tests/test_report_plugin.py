"""mox-report as a plugin."""

from mox_core.testing import PluginContract


class TestPlugin(PluginContract):
    plugin_name = "report"
