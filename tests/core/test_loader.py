"""Eight and more ways of being broken, each with a good plugin beside it that still works."""

from textwrap import dedent

import importlib_metadata
import pytest

from mox_core.errors import PluginError
from mox_core.plugins import OptimizerOffer, loader

GOOD = """
from mox_core.plugins import OptimizerOffer, hookimpl

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("good", "good.plugin:make", summary="a good one")

def make(learning_rate):
    return ("good", learning_rate)
"""

HEAD = """
from mox_core.plugins import *
def offer(name, target="bad.plugin:make"):
    return OptimizerOffer(name, target, summary="a bad one")
"""

HOOKS = (
    "mox_networks, mox_augmentations, mox_optimizers, mox_optimizer_wrappers, mox_datasets, mox_exporters, mox_stores, "
    "mox_trackers, mox_api, mox_commands"
)

LOOKS_UP = (
    "plugin 'bad' looks up a name that plugins offer while it is being loaded itself; "
    "an entry module may hold names only, so import what the plugin needs where it is used."
)

BROKEN = {
    "import error": (
        "import not_there",
        "ModuleNotFoundError: No module named 'not_there'",
    ),
    "syntax error": (
        "def broken(:",
        "SyntaxError: invalid syntax ({folder}/bad/plugin.py, line 1)",
    ),
    "exit while it is imported": (
        "raise SystemExit('bye')",
        "SystemExit: bye",
    ),
    "unknown hook": (
        HEAD + "@hookimpl\ndef mox_optimiser():\n    yield offer('bad')",
        "mox has no hook 'mox_optimiser'. Did you mean 'mox_optimizers'?",
    ),
    "unknown hook, far from any": (
        HEAD + "@hookimpl\ndef teardown():\n    yield offer('bad')",
        f"mox has no hook 'teardown'. The hooks are {HOOKS}.",
    ),
    "no mark": (
        HEAD + "def mox_optimizers():\n    yield offer('bad')",
        "its function 'mox_optimizers' is not marked with @hookimpl",
    ),
    "a hook that raises half-way": (
        HEAD + "@hookimpl\ndef mox_optimizers():\n    yield offer('bad')\n    raise RuntimeError('half-way')",
        "RuntimeError: half-way",
    ),
    "wrong type of offer": (
        HEAD + "@hookimpl\ndef mox_networks():\n    yield OptimizerOffer('bad', 'b:c', summary='x')",
        f"mox_networks yielded {OptimizerOffer('bad', 'b:c', summary='x')!r}; it must yield NetworkOffer objects",
    ),
    "no offer at all": (
        HEAD + "@hookimpl\ndef mox_optimizers():\n    offer('bad')",
        "mox_optimizers returned None; it must yield OptimizerOffer objects",
    ),
    "bad target": (
        HEAD + "@hookimpl\ndef mox_optimizers():\n    yield offer('bad', 'bad.plugin.make')",
        "the target of optimizer 'bad' is 'bad.plugin.make'; it must be a string like 'package.module:object'.",
    ),
    "same name twice": (
        HEAD + "@hookimpl\ndef mox_optimizers():\n    yield offer('bad')\n    yield offer('bad')",
        "mox_optimizers yields the optimizer 'bad' twice",
    ),
    "a public name that the core has": (
        HEAD + "@hookimpl\ndef mox_api():\n    yield ApiOffer('run', 'bad.plugin:offer', summary='another run')",
        "mox_api yields 'run', which is a name of mox-core itself",
    ),
    "a public name that is a module of the core": (
        HEAD + "@hookimpl\ndef mox_api():\n    yield ApiOffer('flags', 'bad.plugin:offer', summary='other flags')",
        "mox_api yields 'flags', which is a name of mox-core itself",
    ),
    "asks for names while it is being loaded": (
        "from mox_core import LogEvaluationMetricHook",
        LOOKS_UP,
    ),
}


def only_good_works(plugins):
    """Check that the good plugin works, and return the others."""
    assert plugins.names(OptimizerOffer) == ["good"]
    assert plugins.find(OptimizerOffer, "good").target == "good.plugin:make"
    return [plugin for plugin in plugins.plugins if plugin.name != "good"]


@pytest.fixture
def good_plugin(fresh_plugins, install_fake):
    install_fake("good", "good", GOOD)
    return fresh_plugins


def test_without_plugins_there_are_none(fresh_plugins):
    assert fresh_plugins().plugins == ()
    assert fresh_plugins().names(OptimizerOffer) == []


def test_a_good_plugin_is_ready(good_plugin):
    (plugin,) = good_plugin().plugins
    assert (plugin.name, plugin.distribution, plugin.version) == ("good", "good", "1.0")
    assert (plugin.state, plugin.reason, plugin.traceback) == ("ready", "", "")
    assert str(plugin) == "good (good 1.0)"


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_set_aside(good_plugin, install_fake, source, reason):
    folder = install_fake("bad", "bad", source)
    reason = reason.replace("{folder}", str(folder))
    (bad,) = only_good_works(good_plugin())
    assert (bad.state, bad.reason, bad.offers) == ("broken", reason, ())
    assert bad.complaint == f"Plugin bad (bad 1.0) is broken: {reason}".removesuffix(".") + "." * (reason[-1] != "?")
    assert bad.traceback.startswith("Traceback (most recent call last):\n")


def test_a_hook_with_arguments_is_set_aside(good_plugin, install_fake):
    install_fake("bad", "bad", HEAD + "@hookimpl\ndef mox_optimizers(config):\n    yield offer('bad')")
    (bad,) = only_good_works(good_plugin())
    assert bad.state == "broken"
    assert bad.reason.startswith("PluginValidationError: Plugin 'bad' for hook 'mox_optimizers' ")
    assert "mox_optimizers(config)" in bad.reason


def test_an_entry_point_whose_object_is_missing_is_set_aside(good_plugin, install_fake):
    install_fake("bad", "bad", HEAD, entry_point="bad.plugin:missing")
    (bad,) = only_good_works(good_plugin())
    assert bad.reason == "AttributeError: module 'bad.plugin' has no attribute 'missing'"


def test_an_entry_point_that_is_no_plugin_is_set_aside(good_plugin, install_fake):
    install_fake("bad", "bad", "answer = 42", entry_point="bad.plugin:answer")
    (bad,) = only_good_works(good_plugin())
    assert bad.reason == f"42 is no plugin: it has no function marked with @hookimpl. The hooks are {HOOKS}."


def test_an_entry_points_file_that_cannot_be_read_is_set_aside(good_plugin, install_fake):
    folder = install_fake("bad", "bad", HEAD)
    (folder / "bad-1.0.dist-info" / "entry_points.txt").write_text("[mox]\nbad\n")
    (bad,) = only_good_works(good_plugin())
    assert bad.reason.startswith("its entry_points.txt cannot be read: ")


def test_another_programs_unreadable_entry_points_do_not_matter(good_plugin, install_fake):
    folder = install_fake("bad", "bad", HEAD)
    (folder / "bad-1.0.dist-info" / "entry_points.txt").write_text("[console_scripts]\nbad\n")
    assert only_good_works(good_plugin()) == []


def test_a_distribution_that_lost_its_metadata_still_says_what_is_wrong(good_plugin, install_fake):
    folder = install_fake("bad", "bad", "import not_there")
    (folder / "bad-1.0.dist-info" / "METADATA").unlink()
    (bad,) = only_good_works(good_plugin())
    assert bad.complaint == "Plugin bad (? ?) is broken: ModuleNotFoundError: No module named 'not_there'."


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        (["mox-core>=99"], "it needs mox-core>=99, and mox-core 0.1.0 is installed"),
        (["numpy", "Mox_Core (<0.1,>=0.0)"], "it needs mox-core<0.1,>=0.0, and mox-core 0.1.0 is installed"),
        (["mox-core=>0.1"], "its requirement 'mox-core=>0.1' cannot be read"),
    ],
)
def test_a_plugin_for_another_core_is_set_aside_before_it_is_imported(good_plugin, install_fake, requires, reason):
    install_fake("bad", "bad", "raise RuntimeError('it was imported')", requires=requires)
    (bad,) = only_good_works(good_plugin())
    assert bad.reason == reason


@pytest.mark.parametrize(
    "requires",
    [
        [],
        ["mox-core"],
        ["mox-core>=0.1,<0.2"],
        ["mox-core>=0.1.0rc1 ; python_version >= '3'"],
        ["mox-core>=99 ; python_version < '3'"],
        ["mox-core>=99 ; extra == 'next'"],
        ["mox-core-tools>=99", "not a requirement !"],
    ],
)
def test_a_plugin_for_this_core_is_loaded(fresh_plugins, install_fake, requires):
    install_fake("good", "good", GOOD, requires=requires)
    assert only_good_works(fresh_plugins()) == []


def test_of_two_plugins_of_one_name_and_distribution_the_second_is_set_aside(good_plugin, install_fake):
    install_fake("good", "good", GOOD, entry_point="good.plugin:other")
    first, second = good_plugin().plugins
    assert (first.module, first.state) == ("good.plugin", "ready")
    assert second.complaint == "Plugin good (good 1.0) is broken: its distribution has another plugin of its name."
    assert good_plugin().names(OptimizerOffer) == ["good"]


def test_a_distribution_that_is_on_the_path_twice_is_loaded_once(good_plugin, install_fake):
    folder = install_fake("good", "good", GOOD, version="0.9")
    assert sorted(path.name for path in folder.glob("good-*")) == ["good-0.9.dist-info", "good-1.0.dist-info"]
    assert only_good_works(good_plugin()) == []
    assert len(good_plugin().plugins) == 1


def test_one_distribution_may_have_several_plugins(good_plugin, install_fake):
    install_fake("good", "better", GOOD)
    assert [plugin.name for plugin in good_plugin().plugins] == ["better", "good"]


def test_a_plugin_may_be_an_object(fresh_plugins, install_fake):
    source = """
        from mox_core.plugins import OptimizerOffer, hookimpl

        class Plugin:
            @hookimpl
            def mox_optimizers(self):
                return [OptimizerOffer("good", "good.plugin:make", summary="a good one")]

        plugin = Plugin()
    """
    install_fake("good", "good", dedent(source), entry_point="good.plugin:plugin")
    assert only_good_works(fresh_plugins()) == []


def test_a_plugin_may_have_hooks_of_a_later_mox(good_plugin, install_fake):
    later = "@hookimpl(optionalhook=True)\ndef mox_schedules():\n    yield offer('later')\n"
    install_fake("new", "new", HEAD + later + "@hookimpl\ndef mox_optimizers():\n    yield offer('new')\n")
    assert good_plugin().names(OptimizerOffer) == ["good", "new"]


def test_plugins_that_are_switched_off_are_not_imported(good_plugin, install_fake, monkeypatch):
    install_fake("bad", "bad", "raise RuntimeError('it was imported')")
    install_fake("worse", "worse", "raise RuntimeError('it was imported')")
    monkeypatch.setenv("MOX_DISABLE_PLUGINS", "bad, worse")
    off = only_good_works(good_plugin())
    assert [plugin.state for plugin in off] == ["off", "off"]
    assert off[0].complaint == "Plugin bad (bad 1.0) is switched off by MOX_DISABLE_PLUGINS."


def test_a_broken_plugin_is_an_error_when_it_is_asked_to_be(good_plugin, install_fake, monkeypatch):
    install_fake("bad", "bad", "import not_there")
    monkeypatch.setenv("MOX_STRICT_PLUGINS", "1")
    with pytest.raises(PluginError) as caught:
        good_plugin()
    lines = str(caught.value).splitlines()
    assert lines[:3] == [
        "MOX_STRICT_PLUGINS is set and a plugin is broken.",
        "Plugin bad (bad 1.0) is broken: ModuleNotFoundError: No module named 'not_there'.",
        "Traceback (most recent call last):",
    ]
    assert lines[-1] == "ModuleNotFoundError: No module named 'not_there'"


@pytest.mark.parametrize("value", ["", "0"])
def test_zero_and_nothing_do_not_switch_strictness_on(good_plugin, install_fake, monkeypatch, value):
    install_fake("bad", "bad", "import not_there")
    monkeypatch.setenv("MOX_STRICT_PLUGINS", value)
    assert [plugin.name for plugin in only_good_works(good_plugin())] == ["bad"]


def test_a_plugin_that_is_switched_off_is_not_broken(good_plugin, install_fake, monkeypatch):
    install_fake("bad", "bad", "import not_there")
    monkeypatch.setenv("MOX_STRICT_PLUGINS", "1")
    monkeypatch.setenv("MOX_DISABLE_PLUGINS", "bad")
    assert [plugin.name for plugin in only_good_works(good_plugin())] == ["bad"]


def test_the_plugins_are_loaded_once_in_a_process(good_plugin):
    assert good_plugin() is good_plugin()


@pytest.mark.usefixtures("good_plugin")
def test_distributions_and_environment_come_in_as_arguments(install_fake):
    folder = install_fake("good", "good", GOOD)
    distributions = importlib_metadata.distributions(path=[str(folder)])
    plugins = loader.load_plugins(distributions, environ={"MOX_DISABLE_PLUGINS": "good"})
    assert [plugin.state for plugin in plugins.plugins] == ["off"]
