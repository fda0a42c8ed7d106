"""A clean environment with the wheels of dist/, shared by all tests that need one: TensorFlow is installed once."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from predict_cases import images  # noqa: F401  (a fixture)
from s3_server import s3, s3_client, s3_endpoint, s3_server, uploaded  # noqa: F401  (fixtures)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel_of():
    """Find the wheel in dist/ of the distribution that a pyproject.toml describes."""

    def find(project):
        text = project.read_text(encoding="utf-8")
        name, version = (re.search(rf'^{key} = "(.*)"$', text, re.MULTILINE)[1] for key in ("name", "version"))
        wheel = ROOT / "dist" / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        assert wheel.exists(), f"{wheel} is missing: `make wheels` builds it and runs this test"
        return wheel

    return find


@pytest.fixture(scope="session")
def run_clean(wheel_of):
    """Run a program of an environment outside the tree that holds the wheels of mox-core and the networks only."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MOX_", "VIRTUAL_ENV"))}
    environ["PIP_NO_COMPILE"] = "1"  # TensorFlow's modules are compiled when they are first imported
    folders = [ROOT, *(ROOT / "plugins" / name for name in ("mox_applications", "mox_resnet", "mox_slim_nets"))]
    wheels = [wheel_of(folder / "pyproject.toml") for folder in folders]
    # Gigabytes: pytest's own tmp_path would keep those of the last three runs.
    with tempfile.TemporaryDirectory(prefix="mox-wheels-") as folder:
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True, env=environ)

        def run(program, *arguments, cwd=folder):
            command = [f"{folder}/venv/bin/{program}", *map(str, arguments)]
            return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=cwd)

        installed = run("pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", *wheels)
        assert installed.returncode == 0, installed.stderr
        yield run
