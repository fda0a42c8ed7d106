"""docs/tutorial.md, followed to the letter: its commands run in order, in a fresh environment, with mox's wheel.

Blocks of shell run in one shell. The comments above them are those of tests/examples/test_docs.py: with `prints` and
`raises` the block behind is what they print. A block of Python that begins with `# train.py` is that file. A block of
differences that begins with such a line changes lines of that file.
"""

import itertools
import os
import re
import runpy
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.wheels, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial.md"

CHANGE = """
import sys
from pathlib import Path

path, old, new = Path(sys.argv[1]), *sys.argv[2:]
assert path.read_text("utf-8").count(old) == 1, f"{path} does not have these lines once:\\n{old}"
path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
"""


@pytest.fixture(scope="module")
def documents():
    """What runs the other documents: `blocks_of` and `is_like`."""
    return runpy.run_path(str(ROOT / "tests" / "examples" / "test_docs.py"))


@pytest.fixture
def folder():
    """An empty folder; it gets gigabytes, of which pytest's own tmp_path would keep those of the last three runs."""
    with tempfile.TemporaryDirectory(prefix="mox-tutorial-") as folder:
        yield Path(folder)


@pytest.fixture
def environ(wheel_of, folder):
    """No setting of Python, mox or an environment, and `pip install mox-core` installs the wheel of dist/."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MOX_", "VIRTUAL_ENV"))}
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}")
    # Without the environment of the tests, whose programs would stand in for those that the page forgets to install.
    programs = [path for path in os.environ["PATH"].split(os.pathsep) if Path(path) != Path(sys.prefix) / "bin"]
    constraints = folder / "constraints.txt"
    mox = f"mox-core @ {wheel_of(ROOT / 'pyproject.toml').as_uri()}\n"
    constraints.write_text((ROOT / "constraints.txt").read_text("utf-8") + mox, "utf-8")
    path = os.pathsep.join([str(folder / "bin"), *programs])
    # Most of TensorFlow is never imported: compiling it would take longer than all the rest.
    return {**environ, "PATH": path, "PIP_CONSTRAINT": str(constraints), "PIP_NO_COMPILE": "1"}


def script_of(blocks, out):
    """The shell script that does what the page says; what the block of line N prints goes to the file N of a folder."""
    yield "set -eu"
    for block in blocks:
        file = re.match(r"# (\S+)\n", block.text)
        if block.how == "not run":
            continue
        if block.language == "sh" and block.how == "raises":
            yield f"if {{\n{block.text}}} >{out}/{block.line} 2>&1; then echo line {block.line} has worked; exit 1; fi"
        elif block.language == "sh":
            yield f"{{\n{block.text}}} >{out}/{block.line} 2>&1"
        elif block.language == "python" and file:
            yield f"printf %s {shlex.quote(block.text)} >{file[1]}"
        elif block.language == "diff" and file:
            old, new = ("".join(re.findall(rf"^\{sign}(.*\n)", block.text, re.MULTILINE)) for sign in "-+")
            yield shlex.join(["python", "-c", CHANGE, file[1], old, new])


def test_the_tutorial_followed_to_the_letter_ends_with_a_wheel_that_trains(documents, environ, folder):
    blocks = documents["blocks_of"](TUTORIAL)
    out, home = folder / "printed", folder / "home"
    out.mkdir()
    home.mkdir()
    (folder / "tutorial.sh").write_text("\n".join(script_of(blocks, out)), "utf-8")
    shell = ["/bin/bash", folder / "tutorial.sh"]
    run = subprocess.run(shell, cwd=home, env=environ, capture_output=True, text=True, check=False)
    printed = {int(path.name): path.read_text("utf-8") for path in out.iterdir()}
    assert run.returncode == 0, f"{run.stdout}{run.stderr}\nline {max(printed)} printed:\n{printed[max(printed)]}"

    for block, behind in itertools.pairwise(blocks):
        if block.language == "sh" and block.how in {"prints", "raises"}:
            said = printed[block.line]
            assert documents["is_like"](said, behind.text), f"line {block.line} printed:\n{said}\nnot:\n{behind.text}"
    (wheel,) = home.glob("mox-mynet/dist/*")
    assert wheel.name == "mox_mynet-0.1.0-py3-none-any.whl"
    (installed,) = home.glob("mox-env/lib/python3.*/site-packages/mox_mynet/network.py")
    assert "(16, 32, 64, 128)" in installed.read_text("utf-8")  # it is the wheel, with the change, that has trained
    assert (home / "mynet_run" / "checkpoint").exists()
