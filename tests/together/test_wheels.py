"""The wheels in dist/, as `make wheels` has built them: what is in them, and that they work where nothing else is."""

import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheels

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]


def wheel_of(project):
    """The wheel of the distribution that a pyproject.toml describes."""
    text = project.read_text(encoding="utf-8")
    name, version = (re.search(rf'^{key} = "(.*)"$', text, re.MULTILINE)[1] for key in ("name", "version"))
    wheel = ROOT / "dist" / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    assert wheel.exists(), f"{wheel} is missing: `make wheels` builds it and runs this test"
    return wheel


def package_of(project):
    return "mox_core" if project.parent == ROOT else project.parent.name


@pytest.fixture(scope="module")
def run_clean():
    """Run a program of an environment outside the tree that holds the wheels of mox-core and mox-resnet only."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MOX_", "VIRTUAL_ENV"))}
    wheels = [wheel_of(ROOT / "pyproject.toml"), wheel_of(ROOT / "plugins/mox_resnet/pyproject.toml")]
    # Gigabytes: pytest's own tmp_path would keep those of the last three runs.
    with tempfile.TemporaryDirectory(prefix="mox-wheels-") as folder:
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True, env=environ)

        def run(program, *arguments):
            command = [f"{folder}/venv/bin/{program}", *map(str, arguments)]
            return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=folder)

        installed = run("pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", *wheels)
        assert installed.returncode == 0, installed.stderr
        yield run


@pytest.mark.parametrize("project", PROJECTS, ids=package_of)
def test_a_wheel_holds_its_package_with_types_and_without_tests(project):
    package = package_of(project)
    names = zipfile.ZipFile(wheel_of(project)).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {package, wheel_of(project).name.removesuffix("-py3-none-any.whl") + ".dist-info"}
    assert f"{package}/py.typed" in names
    assert not [name for name in names if "test_" in name or "/tests/" in name or "__pycache__" in name]
    sources = (ROOT / package if package == "mox_core" else project.parent / "src" / package).rglob("*.py")
    assert {f"{package}/{source.as_posix().split(f'/{package}/')[-1]}" for source in sources} <= set(names)


def test_all_wheels_are_of_one_version():
    assert len({wheel_of(project).name.split("-")[1] for project in PROJECTS}) == 1


def test_the_command_lists_the_plugin_that_is_installed(run_clean):
    result = run_clean("mox", "plugins")
    assert (result.returncode, result.stderr) == (0, "")
    assert re.findall(r"^\S+  (mox-\S+) \S+  ready$", result.stdout, re.MULTILINE) == ["mox-resnet"]


def test_a_network_is_built_from_the_wheels(run_clean):
    script = """
import mox_core as mox
import tensorflow as tf

def build():
    model = mox.get_model_fn("resnet_v1_50", run_mode=mox.ModeKeys.EVAL, num_classes=10)
    logits, end_points = model(tf.zeros([2, 64, 64, 3]))
    return logits

print(tuple(tf.compat.v1.wrap_function(build, [])().shape))
"""
    result = run_clean("python", "-c", script)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "(2, 10)\n"


def test_what_is_not_installed_is_told_by_the_name_of_its_distribution(run_clean):
    result = run_clean("python", "-c", "import mox_core as mox; mox.get_optimizer_fn('sgd')")
    assert result.returncode == 1
    assert "UnknownNameError: unknown optimizer 'sgd'." in result.stderr
    assert "pip install mox-optimizers" in result.stderr
