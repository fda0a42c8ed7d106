"""The wheels in dist/, as `make wheels` has built them: what is in them, and that they work where nothing else is."""

import re
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.wheels

ROOT = Path(__file__).parents[2]
PROJECTS = [ROOT / "pyproject.toml", *sorted(ROOT.glob("plugins/*/pyproject.toml"))]


def package_of(project):
    return "mox_core" if project.parent == ROOT else project.parent.name


@pytest.mark.parametrize("project", PROJECTS, ids=package_of)
def test_a_wheel_holds_its_package_with_types_and_without_tests(project, wheel_of):
    package = package_of(project)
    names = zipfile.ZipFile(wheel_of(project)).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {package, wheel_of(project).name.removesuffix("-py3-none-any.whl") + ".dist-info"}
    assert f"{package}/py.typed" in names
    code = [name for name in names if not name.endswith(".tmpl")]  # the tests of what `mox new-plugin` writes
    assert not [name for name in code if "test_" in name or "/tests/" in name or "__pycache__" in name]
    home = ROOT / package if package == "mox_core" else project.parent / "src" / package
    sources = [path for pattern in ("*.py", "*.tmpl") for path in home.rglob(pattern)]
    assert {f"{package}/{source.relative_to(home).as_posix()}" for source in sources} <= set(names)


def test_all_wheels_are_of_one_version(wheel_of):
    assert len({wheel_of(project).name.split("-")[1] for project in PROJECTS}) == 1


def test_the_command_lists_the_plugins_that_are_installed(run_clean):
    result = run_clean("mox", "plugins")
    assert (result.returncode, result.stderr) == (0, "")
    assert re.findall(r"^\S+  (mox-\S+) \S+  ready$", result.stdout, re.MULTILINE) == [
        "mox-applications",
        "mox-resnet",
        "mox-slim-nets",
    ]


def test_networks_train_for_a_step_from_the_wheels(run_clean):
    """One of each distribution; `make networks` has all of them (`test_every_network.py`)."""
    names = ["lenet", "mobilenet_v3_small", "resnet_v1_20"]
    result = run_clean("python", Path(__file__).with_name("one_step.py"), *names)
    assert result.returncode == 0, result.stderr
    assert [line.partition(":")[0] for line in result.stdout.splitlines()] == names


def test_what_is_not_installed_is_told_by_the_name_of_its_distribution(run_clean):
    result = run_clean("python", "-c", "import mox_core as mox; mox.get_optimizer_fn('sgd')")
    assert result.returncode == 1
    assert "UnknownNameError: unknown optimizer 'sgd'." in result.stderr
    assert "pip install mox-optimizers" in result.stderr
