import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mox_core import cli
from mox_core.plugins.known_names import FIRST_PARTY

GOOD = """
from mox_core.plugins import *

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("sgd", "good.plugin:sgd", summary="plain descent")
    yield OptimizerOffer("adam", "good.plugin:adam", summary="with moments")

@hookimpl
def mox_exporters():
    yield ExporterOffer("TFLITE", "good.plugin:export", summary="a .tflite file")
"""

ZOO = """
from mox_core.errors import DataError
from mox_core.plugins import *

@hookimpl
def mox_commands():
    for name in NAMES:
        yield CommandOffer(name, "zoo.plugin:" + name, summary="what " + name + " does")

def fetch(arguments):
    print("fetch", arguments)
    return 3

def refuse(arguments):
    raise DataError("there is no 'lion'.\\nKnown: tiger")

def hang(arguments):
    raise KeyboardInterrupt

def fail(arguments):
    return 1 / 0

plugins = fetch
"""


@pytest.fixture
def zoo(fresh_plugins, install_fake):  # noqa: ARG001  (no other plugin is there)
    def install(*names, dist="zoo"):
        return install_fake(dist, f"{dist}-plugin", ZOO.replace("NAMES", repr(names)).replace("zoo.", f"{dist}."))

    return install


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == "mox 0.1.0\n"


def test_without_a_command_the_help_is_printed(capsys):
    assert cli.main([]) == 0
    printed = capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert (caught.value.code, capsys.readouterr().out) == (0, printed)
    assert printed.startswith("usage: mox ")


def test_an_option_that_there_is_not_is_refused_with_the_usage(capsys):
    for arguments in (["--hepl"], ["--"]):
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        assert caught.value.code == 2
        assert capsys.readouterr().err.startswith("usage: mox ")


@pytest.mark.usefixtures("fresh_plugins")
def test_without_plugins_the_list_says_what_to_install(capsys):
    assert cli.main(["plugins"]) == 0
    first, _, _, *lines = capsys.readouterr().out.splitlines()
    assert first == "no plugin is installed"
    told = dict(zip(lines[::2], lines[1::2], strict=True))
    place = Path(__file__).parents[2] / "plugins" / "mox_lars"  # as in this checkout
    assert told["  mox-lars: optimizer wrapper 'lars'"] == f"    pip install -e {shlex.quote(str(place))}"
    assert len(told) == len(FIRST_PARTY)


@pytest.mark.usefixtures("fresh_plugins")
def test_plugins_are_listed_with_their_state_and_offers(install_fake, monkeypatch, capsys):
    install_fake("good-dist", "good", GOOD, version="0.3")
    install_fake("bad", "bad", "import not_there")
    install_fake("off", "off", "import not_there")
    monkeypatch.setenv("MOX_DISABLE_PLUGINS", "off")
    assert cli.main(["plugins"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "bad  bad 1.0  broken",
        "  ModuleNotFoundError: No module named 'not_there'",
        "good  good-dist 0.3  ready",
        "  mox_optimizers: sgd, adam",
        "  mox_exporters: TFLITE",
        "off  off 1.0  off",
        "  MOX_DISABLE_PLUGINS",
    ]


@pytest.mark.usefixtures("fresh_plugins")
def test_the_long_list_has_summaries_targets_and_tracebacks(install_fake, capsys):
    install_fake("good", "good", GOOD)
    install_fake("bad", "bad", "import not_there")
    assert cli.main(["plugins", "-v"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "bad  bad 1.0  broken",
        "  ModuleNotFoundError: No module named 'not_there'",
        "    Traceback (most recent call last):",
    ]
    assert lines[-7:] == [
        "    ModuleNotFoundError: No module named 'not_there'",
        "good  good 1.0  ready",
        "  mox_optimizers",
        "    sgd: plain descent [good.plugin:sgd]",
        "    adam: with moments [good.plugin:adam]",
        "  mox_exporters",
        "    TFLITE: a .tflite file [good.plugin:export]",
    ]


@pytest.mark.usefixtures("fresh_plugins")
def test_a_broken_plugin_is_listed_and_fails_where_it_is_asked_to(install_fake, monkeypatch, capsys):
    install_fake("bad", "bad", "import not_there")
    monkeypatch.setenv("MOX_STRICT_PLUGINS", "1")
    assert cli.main(["plugins"]) == 1
    assert capsys.readouterr().out.startswith("bad  bad 1.0  broken\n")


def test_the_command_finds_a_plugin_in_a_process_of_its_own(install_fake):
    folder = install_fake("good-dist", "good", GOOD)
    run = subprocess.run(
        [sys.executable, "-m", "mox_core.cli", "plugins"],
        env={**os.environ, "PYTHONPATH": str(folder), "MOX_STRICT_PLUGINS": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "good  good-dist 1.0  ready\n  mox_optimizers: sgd, adam\n" in run.stdout


def test_the_help_lists_the_commands_of_the_core_and_of_plugins(zoo, capsys):
    zoo("fetch", "plugins")
    zoo("hang", dist="lake")
    zoo("hang", dist="sea")
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("commands:") + 1 :] == [
        "  plugins             list the installed plugins, what they offer, and what is broken",
        "  show                show one thing that a plugin offers: its owner, signature and docstring",
        "  doctor              describe this machine and what is wrong with it, for an issue",
        "  new-plugin          write a plugin to begin with, which passes its tests",
        "  check               check a plugin against the contracts, without writing a test",
        "  predict             ask an exported model which classes images are of",
        "  weights             make a checkpoint of weights that another program wrote, or list them",
        "  launch              start a cluster of processes on this machine that run a script",
        "  fetch               what fetch does (zoo)",
        "  lake-plugin/hang    what hang does (lake)",
        "  sea-plugin/hang     what hang does (sea)",
        "  zoo-plugin/plugins  what plugins does (zoo)",
    ]


def test_a_command_of_a_plugin_gets_its_arguments_and_gives_the_exit_status(zoo, capsys):
    zoo("fetch")
    assert cli.main(["fetch", "--help", "-v", "lion"]) == 3
    assert capsys.readouterr().out == "fetch ['--help', '-v', 'lion']\n"


def test_the_cores_command_comes_before_one_of_a_plugin(zoo, capsys):
    zoo("plugins")
    assert cli.main(["plugins"]) == 0
    assert capsys.readouterr().out == "zoo-plugin  zoo 1.0  ready\n  mox_commands: plugins\n"
    assert cli.main(["zoo-plugin/plugins", "x"]) == 3
    assert capsys.readouterr().out == "fetch ['x']\n"


def test_an_unknown_command_is_refused_with_the_nearest_ones(zoo, install_fake, capsys):
    zoo("fetch")
    install_fake("bad", "bad", "import not_there")
    assert cli.main(["plugin"]) == 2
    assert capsys.readouterr().err == (
        "mox: error: unknown command 'plugin'.\n"
        "Did you mean 'plugins'?\n"
        "Known: check, doctor, fetch, launch, new-plugin, plugins, predict, show, weights\n"
        "Plugin bad (bad 1.0) is broken: ModuleNotFoundError: No module named 'not_there'.\n"
    )
    assert cli.main(["fecth"]) == 2
    assert "Did you mean 'fetch'?" in capsys.readouterr().err


def test_a_command_of_two_plugins_is_refused_until_it_is_said_which_one(zoo, capsys):
    zoo("fetch", "hang", dist="lake")
    zoo("fetch", dist="sea")
    assert cli.main(["hang"]) == 130
    assert cli.main(["fetch"]) == 2
    assert capsys.readouterr().err == (
        "mox: error: command 'fetch' is offered by 2 plugins: lake-plugin (lake 1.0) and sea-plugin (sea 1.0).\n"
        "Say which one: 'lake-plugin/fetch' or 'sea-plugin/fetch'.\n"
    )
    assert cli.main(["sea-plugin/fetch"]) == 3


def test_an_error_of_mox_is_one_message_and_ctrl_c_none(zoo, capsys):
    zoo("refuse", "hang")
    assert cli.main(["refuse"]) == 2
    assert capsys.readouterr().err == "mox: error: there is no 'lion'.\nKnown: tiger\n"
    assert cli.main(["hang"]) == 130
    assert capsys.readouterr().err == ""


def test_any_other_error_of_a_command_keeps_its_traceback(zoo):
    zoo("fail")
    with pytest.raises(ZeroDivisionError):
        cli.main(["fail"])


def test_a_broken_plugin_fails_every_command_of_plugins_where_it_is_asked_to(zoo, install_fake, monkeypatch, capsys):
    zoo("fetch")
    install_fake("bad", "bad", "import not_there")
    monkeypatch.setenv("MOX_STRICT_PLUGINS", "1")
    assert cli.main(["fetch"]) == 2
    assert capsys.readouterr().err.startswith("mox: error: MOX_STRICT_PLUGINS is set and a plugin is broken.\n")


def test_output_that_nobody_reads_to_its_end_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "mox_core.cli", "plugins"]
    run = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (run.returncode, run.stderr) == (141, "")
