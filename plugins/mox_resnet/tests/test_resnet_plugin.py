from mox_core.testing.contracts import PluginContract


class TestPlugin(PluginContract):
    plugin_name = "resnet"
