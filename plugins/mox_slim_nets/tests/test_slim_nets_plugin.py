from mox_core.testing import PluginContract


class TestPlugin(PluginContract):
    plugin_name = "slim-nets"
