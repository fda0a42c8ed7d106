import subprocess
import sys

import pytest

from mox_core.errors import PluginError
from mox_core.plugins import OptimizerOffer, loader
from mox_core.testing import PluginContract

GOOD = """
from mox_core.plugins import OptimizerOffer, hookimpl

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("sgd", "{target}", summary="{summary}")

def make(learning_rate):
    return learning_rate
"""


class Contract(PluginContract):
    plugin_name = "demo"


def good(target="demo.plugin:make", summary="plain descent"):
    return GOOD.format(target=target, summary=summary)


def keep_to(contract):
    for name in dir(contract):
        if name.startswith("test_"):
            getattr(contract, name)()


def test_a_fresh_set_of_plugins_is_empty_until_one_is_installed(fresh_plugins, install_fake):
    assert fresh_plugins().plugins == ()
    install_fake("demo", "demo", good())
    assert fresh_plugins().names(OptimizerOffer) == ["sgd"]


def test_a_fake_stands_beside_what_is_really_installed(install_fake):
    before = {plugin.name for plugin in loader.load_plugins(loader.find_distributions(), environ={}).plugins}
    install_fake("demo", "demo", good())
    after = {plugin.name for plugin in loader.load_plugins(loader.find_distributions(), environ={}).plugins}
    assert after == before | {"demo"}


@pytest.mark.parametrize("text", ["first", "second"])
def test_a_fake_leaves_nothing_behind(fresh_plugins, install_fake, text):
    install_fake("demo", "demo", good(summary=text))
    assert "demo" not in sys.modules
    assert fresh_plugins().find(OptimizerOffer, "sgd").summary == text


@pytest.mark.usefixtures("fresh_plugins")
def test_a_good_plugin_keeps_to_the_contract(install_fake):
    install_fake("demo-dist", "demo", good(target="demo_dist.plugin:make"))
    keep_to(Contract())


@pytest.mark.usefixtures("fresh_plugins")
def test_the_contract_names_a_plugin_that_is_not_installed():
    with pytest.raises(AssertionError, match="no plugin 'demo' is installed; installed are: "):
        Contract().test_plugin_is_ready()


@pytest.mark.usefixtures("fresh_plugins")
def test_the_contract_shows_why_a_plugin_is_broken(install_fake):
    install_fake("demo", "demo", "import not_there")
    with pytest.raises(AssertionError, match="No module named 'not_there'"):
        Contract().test_plugin_is_ready()


@pytest.mark.usefixtures("fresh_plugins")
def test_the_contract_refuses_a_plugin_without_offers(install_fake):
    empty = "from mox_core.plugins import hookimpl\n@hookimpl\ndef mox_optimizers():\n    return []\n"
    install_fake("demo", "demo", empty)
    with pytest.raises(AssertionError, match=r"plugin demo \(demo 1.0\) offers nothing"):
        Contract().test_plugin_is_ready()


@pytest.mark.usefixtures("fresh_plugins")
def test_the_contract_refuses_an_entry_module_that_imports_something_heavy(install_fake):
    install_fake("demo", "demo", "import numpy\n" + good())
    with pytest.raises(AssertionError, match="heavy modules that it imports: ready numpy"):
        Contract().test_entry_module_imports_without_tensorflow()


@pytest.mark.usefixtures("fresh_plugins")
def test_the_contract_refuses_a_target_that_does_not_exist(install_fake):
    install_fake("demo", "demo", good(target="demo.plugin:lost"))
    with pytest.raises(PluginError, match=r"optimizer 'sgd' cannot be imported from 'demo\.plugin:lost'"):
        Contract().test_every_target_imports()


@pytest.mark.usefixtures("fresh_plugins")
def test_the_contract_refuses_a_summary_that_only_repeats_the_name(install_fake):
    install_fake("demo", "demo", good(summary="SGD"))
    with pytest.raises(AssertionError, match="the summary of 'sgd' only repeats it"):
        Contract().test_every_offer_has_a_summary()


def test_without_pytest_the_kit_says_what_to_install():
    program = "import sys; sys.modules['pytest'] = None; import mox_core.testing"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1] == "ModuleNotFoundError: mox_core.testing needs pytest: pip install pytest"


COMMAND = """
import argparse
from mox_core.plugins import CommandOffer, hookimpl

@hookimpl
def mox_commands():
    yield CommandOffer("zoo", "demo.plugin:main", summary="lists networks")

def main(arguments):
    BODY
"""


@pytest.mark.usefixtures("fresh_plugins")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("argparse.ArgumentParser(prog='mox zoo').parse_args(arguments)", None),
        ("print('usage: mox zoo'); return 0", None),
        ("return 0", "`mox zoo --help` prints nothing"),
        ("print('unknown option'); return 2", "`mox zoo --help` ends with status 2"),
        ("raise SystemExit(1)", "`mox zoo --help` ends with status 1"),
    ],
)
def test_the_contract_asks_commands_for_their_help(install_fake, body, message):
    install_fake("demo", "demo", COMMAND.replace("BODY", body))
    if message is None:
        keep_to(Contract())
        return
    with pytest.raises(AssertionError, match=message):
        Contract().test_every_command_prints_its_help()
