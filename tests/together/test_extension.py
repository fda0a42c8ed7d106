"""examples/extension: a distribution of somebody else's adds one of everything, and the core knows nothing of it."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import forked

ROOT = Path(__file__).parents[2]
EXTENSION = ROOT / "examples" / "extension"
NAMES = ("shapes_mlp", "shift", "lion", "lookahead", "shapes", "WEIGHTS_NPZ", "CsvHook", "draw_shapes")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run_installed(tmp_path_factory):
    """Run Python where mox-shapes is installed by pip, into a folder that only this test knows."""
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", site, EXTENSION], check=True)

    def run(*arguments, cwd=site):
        environ = {**os.environ, "PYTHONPATH": str(site), "MOX_STRICT_PLUGINS": "1"}
        command = [sys.executable, *map(str, arguments)]
        result = forked.run(command, env=environ, cwd=cwd, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="module")
def trained(run_installed, tmp_path_factory):
    """The folder of one run of run.py, and what it printed."""
    folder = tmp_path_factory.mktemp("extension")
    return folder, run_installed(EXTENSION / "run.py", folder)


def test_the_plugin_offers_one_of_each_kind(run_installed):
    printed = run_installed("-m", "mox_core.cli", "plugins")
    lines = printed[printed.index("shapes  mox-shapes 0.1.0  ready") :].splitlines()[1:8]
    assert lines == [
        "  mox_networks: shapes_mlp",
        "  mox_augmentations: shift",
        "  mox_optimizers: lion",
        "  mox_optimizer_wrappers: lookahead",
        "  mox_datasets: shapes",
        "  mox_exporters: WEIGHTS_NPZ",
        "  mox_api: draw_shapes, CsvHook",
    ]


def test_all_eight_are_named_in_the_one_run():
    script = (EXTENSION / "run.py").read_text("utf-8")
    assert script.count("mox.run(") == 1
    for name in NAMES:
        assert re.search(rf'"{name}"|mox\.(ExportKeys\.)?{name}\b', script), name


def test_the_public_name_draws_the_data_set_that_is_read(trained):
    folder, _ = trained
    train, held_out = (np.load(folder / "shapes" / f"{split}.npz") for split in ("train", "eval"))
    assert (train["images"].shape, held_out["images"].shape) == ((300, 20, 20, 1), (60, 20, 20, 1))
    assert np.bincount(held_out["labels"]).tolist() == [20, 20, 20]


def test_network_optimizer_and_wrapper_have_left_their_variables_in_the_checkpoint(trained):
    folder, _ = trained
    checkpoint = tf.train.load_checkpoint(str(folder / "log"))
    shapes = checkpoint.get_variable_to_shape_map()
    # The augmentation makes 16 x 16 pixels of 20 x 20: so many rows have the weights.
    assert shapes["shapes_mlp/hidden/weights"] == [256, 32]
    assert shapes["shapes_mlp/hidden/weights/lion"] == [256, 32]
    assert shapes["shapes_mlp/hidden/weights/lookahead"] == [256, 32]
    assert checkpoint.get_tensor("lookahead/count") == 300
    # 300 steps end a period of 5: fast and slow weights have just met.
    np.testing.assert_array_equal(
        checkpoint.get_tensor("shapes_mlp/logits/weights"), checkpoint.get_tensor("shapes_mlp/logits/weights/lookahead")
    )


def test_the_hook_has_written_its_lines(trained):
    folder, _ = trained
    with (folder / "training.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["step"] for line in lines] == ["0", "50", "100", "150", "200", "250"]
    assert float(lines[-1]["loss"]) < float(lines[0]["loss"]) / 5


def test_what_the_exporter_wrote_is_what_was_trained_and_is_right_by_numpy_alone(trained):
    folder, printed = trained
    exported = np.load(folder / "log" / "weights_npz" / "1" / "weights.npz")
    checkpoint = tf.train.load_checkpoint(str(folder / "log"))
    assert len(exported.files) == 4
    for name in exported.files:
        np.testing.assert_array_equal(exported[name], checkpoint.get_tensor(name))
    # Chance is 0.33.
    assert float(re.search(r"by NumPy alone: (\d\.\d+)", printed)[1]) > 0.9


def test_it_keeps_to_the_contracts_of_the_kit(run_installed):
    printed = run_installed("-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", cwd=EXTENSION)
    assert re.search(r"^\d+ passed, 2 deselected in ", printed, re.MULTILINE), printed


def test_the_core_and_the_plugins_do_not_mention_it():
    named = re.compile(r"mox[-_]shapes|draw_shapes|shapes_mlp|CsvHook|WEIGHTS_NPZ|[\"'](lion|lookahead|shapes)[\"']")
    sources = [*ROOT.glob("mox_core/**/*.py"), *ROOT.glob("plugins/*/src/**/*.py")]
    assert len(sources) > 100
    # The texts of documentation may take names that are well known as examples.
    found = {str(path.relative_to(ROOT)) for path in sources if named.search(_code(path))}
    assert found == set()


def _code(path):
    return re.sub(r'""".*?"""', "", path.read_text("utf-8"), flags=re.DOTALL)
