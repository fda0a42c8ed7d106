"""mox-export as a plugin."""

import mox_core as mox
from mox_core.testing.contracts import PluginContract


class TestPlugin(PluginContract):
    plugin_name = "export"


def test_its_name_stands_on_export_keys():
    assert mox.ExportKeys.TF_SERVING == "TF_SERVING"
