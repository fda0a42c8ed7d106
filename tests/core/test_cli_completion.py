"""What a shell completes behind `mox`: what it is answered, and that a real bash asks."""

import os
import shutil
import subprocess
import sys

import pytest

ZOO = """
import argparse
from mox_core.plugins import *

@hookimpl
def mox_commands():
    yield CommandOffer("zoo", "zoo.plugin:main", summary="lists networks")
    yield CommandOffer("cage", "zoo.plugin:by_hand", summary="has no parser")
    yield CommandOffer("ark", "zoo.plugin:refuse", summary="is broken")

@hookimpl
def mox_networks():
    for name in ("lion_26", "lion_50", "tiger"):
        meta = NetworkMeta(default_image_size=32, default_labels_offset=0)
        yield NetworkOffer(name, "zoo.plugin:none", summary="a network", meta=meta)

def main(arguments):
    parser = argparse.ArgumentParser(prog="mox zoo")
    parser.add_argument("--fetch")
    parser.add_argument("cage", choices=("north", "south"))
    parser.parse_args(arguments)
    raise AssertionError("it ran")

def by_hand(arguments):
    assert arguments == ["--help"]
    print("mox cage takes nothing")
    return 0

def refuse(arguments):
    from mox_core.errors import DataError
    raise DataError("no parser")
"""

BASH = shutil.which("bash")

MOX = """
import importlib_metadata, sys
from mox_core.plugins import loader
loader.find_distributions = lambda: importlib_metadata.distributions(path=[FOLDER])
from mox_core import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def mox(install_fake, tmp_path):
    """The path of a program `mox` that sees one plugin only, and an environment for it."""
    folder = install_fake("zoo", "zoo", ZOO)
    program = tmp_path / "bin" / "mox"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{MOX.replace('FOLDER', repr(str(folder)))}", encoding="utf-8")
    program.chmod(0o755)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    search = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    return program, {**os.environ, "PYTHONPATH": path, "PATH": search, "MOX_STRICT_PLUGINS": "0"}


@pytest.fixture
def completed(mox, tmp_path):
    def ask(line):
        program, environ = mox
        answer = tmp_path / "answer"
        asked = {
            "_ARGCOMPLETE": "1",
            "_ARGCOMPLETE_IFS": "\n",
            "_ARGCOMPLETE_STDOUT_FILENAME": str(answer),
            "COMP_LINE": line,
            "COMP_POINT": str(len(line)),
        }
        answer.unlink(missing_ok=True)
        subprocess.run([program], env={**environ, **asked}, check=True, cwd=tmp_path, capture_output=True)
        return list(filter(None, answer.read_text(encoding="utf-8").split("\n"))) if answer.exists() else []

    return ask


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "mox ",
            ["plugins", "show", "doctor", "new-plugin", "check", "predict", "weights", "launch", "ark", "cage", "zoo"],
        ),
        ("mox pl", ["plugins "]),
        ("mox --comp", ["--completion "]),
        ("mox --completion ", ["bash", "zsh", "fish"]),
        ("mox plugins --", ["--help", "--verbose", "--json"]),
        ("mox show net", ["network "]),
        ("mox show network ", ["lion_26", "lion_50", "tiger"]),
        ("mox show network lion", ["lion_26", "lion_50"]),
        ("mox check ", ["zoo "]),
        ("mox new-plugin --kind op", ["optimizer "]),
        ("mox launch --w", ["--workers "]),
        ("mox zoo ", ["north", "south"]),
        ("mox zoo --f", ["--fetch "]),
        ("mox cage --", []),
        ("mox ark --", []),
        ("mox zooo ", []),
        ("mox show nothing ", []),
    ],
)
def test_tab_completes(completed, line, words):
    assert completed(line) == words


@pytest.mark.skipif(BASH is None, reason="there is no bash")
def test_a_real_bash_completes_by_the_script(mox):
    program, environ = mox
    ask = """
eval "$(mox --completion bash)"
COMP_LINE="mox show network lion_2" COMP_POINT=23 COMP_TYPE=9
_python_argcomplete mox lion_2 network
echo "${COMPREPLY[@]}"
"""
    run = subprocess.run([BASH, "-c", ask], env=environ, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["lion_26"]
    complete = subprocess.run(
        [BASH, "-c", 'eval "$(mox --completion bash)"; complete -p mox'], env=environ, capture_output=True, check=True
    )
    assert complete.stdout.endswith(b" mox\n")
    for shell in ("zsh", "fish"):
        script = subprocess.run([program, "--completion", shell], env=environ, capture_output=True, check=True).stdout
        assert b"_ARGCOMPLETE" in script


def test_a_shell_that_there_is_no_script_for_is_refused(mox):
    program, environ = mox
    run = subprocess.run([program, "--completion", "csh"], env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "invalid choice: 'csh'" in run.stderr
