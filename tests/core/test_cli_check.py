import os
import subprocess
import sys

import pytest

from mox_core import cli

ZOO = """
import argparse
from mox_core.plugins import CommandOffer, hookimpl

@hookimpl
def mox_commands():
    yield CommandOffer("zoo", "zoo.plugin:main", summary="lists networks")

def main(arguments):
    argparse.ArgumentParser(prog="mox zoo").parse_args(arguments)
    return 0
"""

CHECK = """
import sys
from mox_core import cli
from mox_core.plugins import hookspecs

@hookspecs.hookspec(warn_on_impl=DeprecationWarning("mox_commands goes with mox 0.3"))
def mox_commands():
    pass

hookspecs.mox_commands = mox_commands
sys.exit(cli.main(["check", sys.argv[1]]))
"""


def check(folder, name):
    environ = {**os.environ, "PYTHONPATH": str(folder), "MOX_STRICT_PLUGINS": "0"}
    return subprocess.run([sys.executable, "-c", CHECK, name], env=environ, capture_output=True, text=True, check=False)


def test_without_pytest_the_command_says_what_to_install():
    program = "import sys; sys.modules['pytest'] = None; from mox_core import cli; sys.exit(cli.main(['check', 'zoo']))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    message = "mox: error: mox check needs pytest, which is not installed: pip install pytest\n"
    assert (run.returncode, run.stdout, run.stderr) == (2, "", message)


def test_a_plugin_must_be_named(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["check"])
    assert caught.value.code == 2
    assert "the following arguments are required: plugin" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["zoo-plugin", "zoo.plugin", "zoo"])
def test_a_plugin_is_checked_by_any_of_its_names_and_its_author_told_what_goes(install_fake, name):
    folder = install_fake("zoo", "zoo-plugin", ZOO)
    run = check(folder, name)
    assert run.returncode == 0, run.stdout + run.stderr
    first, *others = run.stdout.splitlines()
    place = folder / "zoo" / "plugin.py"
    assert first == f"plugin zoo-plugin (zoo 1.0), for its author: mox_commands goes with mox 0.3 ({place}, line 5)"
    assert "  holds    every command prints its help" in others


def test_a_plugin_that_breaks_a_contract_fails(install_fake):
    run = check(install_fake("zoo", "zoo-plugin", ZOO.replace("lists networks", "ZOO")), "zoo-plugin")
    assert run.returncode == 1, run.stdout + run.stderr
    assert "  FAILS    every offer has a summary\n" in run.stdout


def test_a_plugin_that_is_not_installed_is_refused_with_those_that_are(install_fake):
    run = check(install_fake("zoo", "zoo-plugin", ZOO), "zoo-plugn")
    assert run.returncode == 2
    assert "mox: error: no plugin is called 'zoo-plugn'" in run.stderr
    assert "Did you mean 'zoo-plugin'" in run.stderr
