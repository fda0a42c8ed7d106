"""docs/manual.md: each construct has its example, each example its test, each box the test that it names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "manual.md").read_text("utf-8")
HELPERS = {"reload_export.py"}  # the demo runs it
# Chapter and section to the number of boxes there.
COUNTS = {"2-1": 2, "2-2": 1, "2-3": 1, "2-4": 3, "3-1": 1, "3-4": 2, "4-0": 1, "4-1": 2, "4-4": 4, "5-1": 1, "5-2": 1}
BOXES = [f"{section}-{number + 1}" for section, count in {**COUNTS, "6-0": 2}.items() for number in range(count)]


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").glob("*.py")))
def test_each_example_stands_in_the_page_and_has_a_test(example):
    if example in HELPERS:
        return
    assert f"(../examples/{example})" in PAGE
    tests = {f"test_example_{example}", f"test_{example}"}
    assert any((ROOT / "tests" / "examples" / test).is_file() for test in tests)


def test_every_box_of_the_manual_has_a_line():
    assert re.findall(r"^\| (\d-\d-\d) \|", PAGE, re.MULTILINE) == BOXES


@pytest.mark.parametrize("named", sorted(set(re.findall(r"`((?:tests|plugins)/[\w/]+\.py(?:::\w+)?)`", PAGE))))
def test_the_tests_that_the_page_names_exist(named):
    file, _, test = named.partition("::")
    assert re.search(rf"^def {test or 'test_'}", (ROOT / file).read_text("utf-8"), re.MULTILINE)


def test_a_script_imports_the_modules_beside_it_from_anywhere(tmp_path):
    (tmp_path / "project" / "parts").mkdir(parents=True)
    (tmp_path / "project" / "parts" / "model.py").write_text("NAME = 'mine'\n", "utf-8")
    script = tmp_path / "project" / "main.py"
    script.write_text("import mox_core as mox\nfrom parts import model\nprint(model.NAME)\n", "utf-8")
    run = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert run.stdout == "mine\n"
