import os
import subprocess
import sys

import pytest

from mox_core import cli

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


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == "mox 0.1.0\n"


def test_a_missing_command_is_refused_with_the_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("usage: mox ")


@pytest.mark.usefixtures("fresh_plugins")
def test_without_plugins_the_list_says_so(capsys):
    assert cli.main(["plugins"]) == 0
    assert capsys.readouterr().out == "no plugin is installed\n"


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
