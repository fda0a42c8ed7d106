"""`mox plugins` for programs, and how little it loads; the list for people is tested in test_cli.py."""

import json
import os
import re
import subprocess
import sys

import pytest

from mox_core import cli

OFFERS = """
from mox_core.plugins import *

@hookimpl
def mox_networks():
    yield NetworkOffer("net", "good.nets:net", summary="a network", meta=NetworkMeta(28, default_labels_offset=1))

@hookimpl
def mox_exporters():
    yield ExporterOffer("TFLITE", "good.export:export", summary="a .tflite file")

@hookimpl
def mox_datasets():
    meta = DatasetMeta(10, splits_to_sizes={"train": 60, "test": 10})
    yield DatasetOffer("digits", "good.digits:Digits", summary="handwritten", meta=meta)
"""

COUNTING = """
import sys
from mox_core import cli
cli.main(["plugins"])
heavy = {"tensorflow", "keras", "numpy", "mox_core.commands.launch", "pytest"}
print(len(sys.modules), *sorted(set(sys.modules) & heavy))
"""


@pytest.mark.usefixtures("fresh_plugins")
def test_programs_get_all_that_is_known(install_fake, monkeypatch, capsys):
    install_fake("good-dist", "good", OFFERS, version="0.3")
    install_fake("bad", "bad", "import not_there")
    install_fake("off", "off", OFFERS)
    monkeypatch.setenv("MOX_DISABLE_PLUGINS", "off")
    assert cli.main(["plugins", "--json"]) == 0
    bad, good, off = json.loads(capsys.readouterr().out)
    assert bad.pop("traceback").splitlines()[-1] == bad["reason"] == "ModuleNotFoundError: No module named 'not_there'"
    assert min(plugin.pop("seconds") for plugin in (bad, good)) > 0
    nothing = {"offers": {}, "warnings": [], "imports": []}
    assert bad == {
        "name": "bad",
        "distribution": "bad",
        "version": "1.0",
        "module": "bad.plugin",
        "state": "broken",
        "reason": "ModuleNotFoundError: No module named 'not_there'",
        **nothing,
    }
    assert off == {
        "name": "off",
        "distribution": "off",
        "version": "1.0",
        "module": "off.plugin",
        "state": "off",
        "reason": "MOX_DISABLE_PLUGINS",
        "traceback": "",
        "seconds": 0,
        **nothing,
    }
    meta = {
        "default_image_size": 28,
        "default_labels_offset": 1,
        "default_logits_pattern": "logits",
        "parameters": None,
    }
    digits = {"num_classes": 10, "splits_to_sizes": {"train": 60, "test": 10}}
    assert good == {
        "name": "good",
        "distribution": "good-dist",
        "version": "0.3",
        "module": "good_dist.plugin",
        "state": "ready",
        "reason": "",
        "traceback": "",
        "warnings": [],
        "imports": [],
        "offers": {
            "mox_networks": [
                {"name": "net", "target": "good.nets:net", "summary": "a network", "yields": False, "meta": meta}
            ],
            "mox_datasets": [
                {
                    "name": "digits",
                    "target": "good.digits:Digits",
                    "summary": "handwritten",
                    "yields": False,
                    "meta": digits,
                }
            ],
            "mox_exporters": [
                {"name": "TFLITE", "target": "good.export:export", "summary": "a .tflite file", "yields": False}
            ],
        },
    }


WAITS = """
import time
import {imported}
from mox_core.plugins import OptimizerOffer, hookimpl

end = time.perf_counter() + {seconds}
while time.perf_counter() < end:
    pass

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("descent", "good.optimizers:descent", summary="a descent")
"""


@pytest.mark.usefixtures("fresh_plugins")
def test_a_plugin_that_takes_long_to_load_is_named_with_what_it_imports(install_fake, capsys):
    folder = install_fake("lame", "lame", WAITS.format(imported="a_big_package", seconds=0.51))
    (folder / "a_big_package.py").touch()
    install_fake("slow", "slow", WAITS.format(imported="time", seconds=0.51), version="2.0")
    install_fake("quick", "quick", WAITS.format(imported="time", seconds=0))
    assert cli.main(["plugins"]) == 0
    lines = capsys.readouterr().out.splitlines()
    named = {lines[number - 1]: line for number, line in enumerate(lines) if "s to load" in line}
    assert set(named) == {"lame  lame 1.0  ready", "slow  slow 2.0  ready"}
    assert "its entry module imports a_big_package. Its author should import" in named["lame  lame 1.0  ready"]
    assert re.fullmatch(
        r"  takes \d+\.\d s to load\. Every `mox --help` and every name that is looked up in vain waits for it\.",
        named["slow  slow 2.0  ready"],
    )


@pytest.mark.usefixtures("fresh_plugins")
def test_programs_get_an_empty_list_where_nothing_is_installed(capsys):
    assert cli.main(["plugins", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.usefixtures("fresh_plugins")
def test_what_is_broken_gives_programs_the_same_exit_status(install_fake, monkeypatch, capsys):
    install_fake("bad", "bad", "import not_there")
    monkeypatch.setenv("MOX_STRICT_PLUGINS", "1")
    assert cli.main(["plugins", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)[0]["state"] == "broken"


def test_listing_for_people_and_for_programs_at_once_is_refused(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["plugins", "-v", "--json"])
    assert caught.value.code == 2
    assert "--json: not allowed with argument -v" in capsys.readouterr().err


def test_each_plugin_costs_the_import_of_its_entry_module_and_nothing_more(install_fake):
    """The half second of the benchmark, by what does not depend on the machine."""

    def count():
        environ = {**os.environ, "PYTHONPATH": str(folder), "MOX_STRICT_PLUGINS": "0"}
        command = [sys.executable, "-c", COUNTING]
        run = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        number, *heavy = run.stdout.splitlines()[-1].split()
        assert heavy == []
        return int(number)

    folder = install_fake("good", "good", OFFERS)
    before = count()
    for number in range(10):
        install_fake(f"more-{number}", f"more-{number}", OFFERS)
    assert count() == before + 20  # each is a package and its module `plugin`
    assert before < 400


def test_the_command_loads_no_other_one():
    program = "import sys, mox_core.cli; print(*(name for name in sys.modules if name.startswith('mox_core')))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "mox_core.cli" in loaded
    assert not [name for name in loaded if name.startswith("mox_core.commands.")]
    assert "mox_core.commands.new_plugin" not in loaded
