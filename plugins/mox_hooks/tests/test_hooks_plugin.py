"""mox-hooks as a plugin."""

import pytest

import mox_core as mox
from mox_core.testing import PluginContract


class TestPlugin(PluginContract):
    plugin_name = "hooks"


@pytest.mark.parametrize(
    ("name", "runs_inter_mode"), [("FeedSessionRunHook", False), ("LogEvaluationMetricHook", True)]
)
def test_its_hooks_stand_on_mox_and_say_what_they_are(name, runs_inter_mode):
    hook_class = getattr(mox, name)
    assert issubclass(hook_class, mox.AggregativeSessionRunHook)
    assert hook_class.run_inter_mode(None) is runs_inter_mode
