"""Plugins and cores of different ages: hooks that gained an argument, or are to go, and cores that do not fit."""

import pytest

from mox_core import cli
from mox_core.errors import UnknownNameError
from mox_core.plugins import NetworkOffer, OptimizerOffer, hookspecs

OLD = """
from mox_core.plugins import OptimizerOffer, hookimpl

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("old", "old.plugin:make", summary="written when the hook took nothing")
"""

NEW = """
from mox_core.plugins import OptimizerOffer, hookimpl

@hookimpl
def mox_optimizers(ARGUMENTS):
    yield OptimizerOffer("new", "new.plugin:make", summary=f"for {core}")
"""

OBJECT = """
from mox_core.plugins import OptimizerOffer, hookimpl

class Plugin:
    @hookimpl
    def mox_optimizers(self, core):
        return [OptimizerOffer("object", "new.plugin:make", summary=f"for {core}")]

plugin = Plugin()
"""

ADVICE = "mox_optimizers goes with mox 0.3: offer it by mox_updates"


@pytest.fixture
def later_mox(fresh_plugins, monkeypatch):
    """A mox whose `mox_optimizers` gained two arguments."""

    @hookspecs.hookspec
    def mox_optimizers(core, host):
        """Optimizers."""

    monkeypatch.setattr(hookspecs, "mox_optimizers", mox_optimizers)
    monkeypatch.setattr(hookspecs, "ARGUMENTS", {"core": "mox 0.3", "host": "a machine"})
    return fresh_plugins


@pytest.fixture
def deprecating_mox(fresh_plugins, monkeypatch):
    """A mox whose `mox_optimizers` is to go."""

    @hookspecs.hookspec(warn_on_impl=DeprecationWarning(ADVICE))
    def mox_optimizers():
        """Optimizers."""

    monkeypatch.setattr(hookspecs, "mox_optimizers", mox_optimizers)
    return fresh_plugins


def summaries(plugins):
    return {name: plugins.find(OptimizerOffer, name).summary for name in plugins.names(OptimizerOffer)}


@pytest.mark.parametrize("arguments", ["core", "core, host", "host, core", "core, later=None"])
def test_a_hook_that_gained_arguments_serves_old_plugins_and_new_ones(later_mox, install_fake, arguments):
    install_fake("old", "old", OLD)
    install_fake("new", "new", NEW.replace("ARGUMENTS", arguments))
    install_fake("of-object", "of-object", OBJECT, entry_point="of_object.plugin:plugin")
    assert summaries(later_mox()) == {
        "new": "for mox 0.3",
        "object": "for mox 0.3",
        "old": "written when the hook took nothing",
    }


def test_a_plugin_can_ask_for_an_argument_that_only_a_later_mox_has(fresh_plugins, install_fake):
    install_fake("new", "new", NEW.replace("ARGUMENTS", "core='any mox'"))
    assert summaries(fresh_plugins()) == {"new": "for any mox"}


def test_an_argument_that_no_mox_has_is_named(later_mox, install_fake):
    install_fake("new", "new", NEW.replace("ARGUMENTS", "core, device"))
    (plugin,) = later_mox().plugins
    assert plugin.state == "broken"
    assert "mox_optimizers(core, device)" in plugin.reason


def test_a_plugin_for_another_core_is_named_with_both_versions_wherever_it_is_missed(
    fresh_plugins, install_fake, capsys
):
    install_fake("ahead", "ahead", OLD, requires=["mox-core>=99,<100"], version="3.2")
    reason = "it needs mox-core<100,>=99, and mox-core 0.1.0 is installed"
    assert cli.main(["plugins"]) == 0
    assert capsys.readouterr().out == f"ahead  ahead 3.2  broken\n  {reason}\n"
    with pytest.raises(UnknownNameError) as caught:
        fresh_plugins().find(NetworkOffer, "net")
    assert str(caught.value).splitlines()[-1] == f"Plugin ahead (ahead 3.2) is broken: {reason}."


def test_what_a_hook_that_is_to_go_offers_works_on_without_a_word_to_users(deprecating_mox, install_fake):
    folder = install_fake("old", "old", OLD)
    assert list(summaries(deprecating_mox())) == ["old"]  # and warnings are errors here
    (plugin,) = deprecating_mox().plugins
    assert (plugin.state, plugin.warnings) == ("ready", (f"{ADVICE} ({folder / 'old' / 'plugin.py'}, line 4)",))


def test_a_plugin_without_that_hook_is_not_warned_of(deprecating_mox, install_fake):
    source = OLD.replace("mox_optimizers", "mox_optimizer_wrappers").replace("OptimizerOffer", "OptimizerWrapperOffer")
    install_fake("old", "old", source)
    (plugin,) = deprecating_mox().plugins
    assert (plugin.state, plugin.warnings) == ("ready", ())


@pytest.mark.usefixtures("deprecating_mox")
def test_the_list_of_plugins_tells_authors_of_a_hook_that_is_to_go(install_fake, capsys):
    folder = install_fake("old", "old", OLD)
    assert cli.main(["plugins"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "old  old 1.0  ready",
        f"  for its author: {ADVICE} ({folder / 'old' / 'plugin.py'}, line 4)",
        "  mox_optimizers: old",
    ]


def test_where_plugins_are_tested_a_hook_that_is_to_go_is_a_warning_that_python_shows(
    deprecating_mox, install_fake, monkeypatch
):
    folder = install_fake("old", "old", OLD)
    monkeypatch.setenv("MOX_STRICT_PLUGINS", "1")
    with pytest.warns(FutureWarning) as caught:
        assert list(summaries(deprecating_mox())) == ["old"]
    assert [str(each.message) for each in caught] == [
        f"plugin old (old 1.0): {ADVICE} ({folder / 'old' / 'plugin.py'}, line 4)"
    ]
