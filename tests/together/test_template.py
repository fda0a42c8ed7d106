"""`mox new-plugin`: what it writes, what it refuses, and that what it writes works where nothing else is."""

import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

import mox_core
from mox_core.commands.new_plugin import KINDS, main
from mox_core.errors import UsageError

ROOT = Path(__file__).parents[2]


def write(folder, name, kind):
    """Write a distribution and return its folder."""
    assert main([name, "--kind", kind, "--into", str(folder)]) == 0
    return folder / name


def files_in(folder):
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_distribution_of_each_kind_is_complete(kind, tmp_path):
    files = files_in(write(tmp_path, "mox-mynet", kind))
    assert set(files) == {
        ".github/workflows/ci.yml",
        ".gitignore",
        "CONTRIBUTING.md",
        "README.md",
        "pyproject.toml",
        "src/mox_mynet/__init__.py",
        "src/mox_mynet/plugin.py",
        "src/mox_mynet/py.typed",
        f"src/mox_mynet/{kind}.py",
        "tests/test_contract.py",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["mox-mynet"]
    for path, file in files.items():
        left = re.sub(r"\$\{\{ matrix\.\w+ \}\}", "", file.read_text("utf-8"))  # that is the workflow's own
        assert "$" not in left, path


def test_there_is_a_template_for_each_kind_and_no_other():
    folders = [entry.name for entry in (resources.files("mox_core") / "template").iterdir() if entry.is_dir()]
    assert sorted(folders) == sorted([*KINDS, "common"])


@pytest.mark.parametrize("name", ["mox-my", "mox-somewhat-longer"])
def test_what_is_written_is_clean_and_formatted_by_its_own_settings(name, tmp_path):
    for kind in KINDS:
        write(tmp_path, f"{name}-{kind}", kind)
    for check in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--no-cache", tmp_path]
        run = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("distribution", "kind", "written"),
    [
        ("mox-mynet", "network", ["src/mox_mynet/plugin.py", 'mynet = "mox_mynet.plugin"', 'name="mynet"']),
        ("Acme.Fast-Nets", "network", ["src/acme_fast_nets/plugin.py", 'acme-fast-nets = "acme_fast_nets.plugin"']),
        ("mox_two_words", "hook", ['two-words = "mox_two_words.plugin"', 'name="TwoWordsHook"']),
        ("mox-two-words", "exporter", ['name="TWO_WORDS"']),
        ("mox-two-words", "dataset", ['name="two_words"', "TwoWordsDataset"]),
    ],
)
def test_the_names_follow_from_that_of_the_distribution(distribution, kind, written, tmp_path):
    folder = write(tmp_path, distribution, kind)
    files = files_in(folder)
    text = "\n".join([*files, *(file.read_text("utf-8") for file in files.values())])
    assert f'name = "{distribution}"' in (folder / "pyproject.toml").read_text("utf-8")
    for words in written:
        assert words in text


def test_it_asks_for_the_core_that_wrote_it(tmp_path):
    text = (write(tmp_path, "mox-mynet", "network") / "pyproject.toml").read_text("utf-8")
    allowed = SpecifierSet(re.search(r'"mox-core(.+?)"', text)[1])
    major, minor = map(int, mox_core.__version__.split(".")[:2])
    assert mox_core.__version__ in allowed
    assert f"{major}.{minor + 1}.0" not in allowed


def test_it_says_what_to_do_next(tmp_path, capsys):
    folder = write(tmp_path, "mox-mynet", "network")
    assert capsys.readouterr().out == (
        f"wrote {folder}: a network for mox. Next:\n\n"
        f"  cd {folder}\n"
        "  pip install -e '.[dev]'\n"
        "  pytest                     # passes at once\n"
        "  mox plugins                # lists it as 'mynet'\n\n"
        "src/mox_mynet/network.py is the code to change, README.md says how it is used.\n"
    )


def test_it_writes_without_tensorflow(tmp_path):
    program = (
        "import sys\n"
        "from mox_core.cli import main\n"
        "status = main(['new-plugin', 'mox-mynet', '--kind', 'network'])\n"
        "sys.exit(status or ', '.join({'tensorflow', 'keras', 'numpy'} & set(sys.modules)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert (tmp_path / "mox-mynet" / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("mox-mynet", "netwrok", "unknown kind 'netwrok'. Did you mean 'network'?"),
        (
            "mox-mynet",
            "thing",
            "unknown kind 'thing'. The kinds are network, dataset, augmentation, optimizer, wrapper, hook, exporter.",
        ),
        (
            "my net",
            "network",
            (
                "'my net' cannot be the name of a distribution: it holds letters, digits and, between them, '-', '_' "
                "or '.', as in 'mox-mynet'."
            ),
        ),
        ("../mox-mynet", "network", "'../mox-mynet' cannot be the name of a distribution"),
        ("mox-", "network", "'mox-' cannot be the name of a distribution"),
        (
            "mox-3d",
            "network",
            (
                "'mox-3d' cannot be used: what it offers would be called '3d', which cannot be a name in Python. "
                "Choose another one, as 'mox-mynet'."
            ),
        ),
        ("mox-lambda", "network", "what it offers would be called 'lambda', which cannot be a name in Python."),
        (
            "Mox.Resnet",
            "network",
            (
                "'Mox.Resnet' cannot be used: a package 'mox_resnet' is installed already, and one of them would hide "
                "the other. Choose another name, or uninstall that one."
            ),
        ),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(name, kind, words, tmp_path):
    with pytest.raises(UsageError) as error:
        main([name, "--kind", kind, "--into", str(tmp_path)])
    assert words in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_what_exists_is_never_overwritten(tmp_path):
    folder = tmp_path / "mox-mynet"
    folder.mkdir()
    words = f"{str(folder)!r} exists, and nothing is overwritten: give another name, or another --into."
    with pytest.raises(UsageError) as error:
        write(tmp_path, "mox-mynet", "network")
    assert str(error.value) == words
    folder.rmdir()
    folder.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="exists, and nothing is overwritten"):
        write(tmp_path, "mox-mynet", "network")
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_to_write_into_that_is_missing_is_refused(tmp_path):
    missing = tmp_path / "missing"
    with pytest.raises(UsageError) as error:
        write(missing, "mox-mynet", "network")
    assert str(error.value) == f"--into is {str(missing)!r}, which is no folder: make it first, or give another one."


def test_nothing_is_left_where_it_cannot_be_written(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be written: .*too long.*\. Give another --into\."):
        write(tmp_path, "mox-" + "x" * 300, "network")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_where_the_disk_ends_in_the_middle(tmp_path):
    program = (
        "import resource, sys\n"
        "from mox_core.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"  # no file may be larger; the code is
        "sys.exit(main(['new-plugin', 'mox-mynet', '--kind', 'network']))"
    )
    run = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert re.fullmatch(r"mox: error: 'mox-mynet' cannot be written: .*too large.*\n", run.stderr), run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def written(run_clean, tmp_path_factory):
    """A folder with a distribution of each kind, all of which are installed in the clean environment."""
    folder = tmp_path_factory.mktemp("written")
    for kind in KINDS:
        made = run_clean("mox", "new-plugin", f"mox-my{kind}", "--kind", kind, "--into", folder)
        assert made.returncode == 0, made.stderr
    pip = ("pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt")
    tools = run_clean(*pip, "pytest", "hatchling", "editables")
    assert tools.returncode == 0, tools.stderr
    projects = [argument for kind in KINDS for argument in ("--editable", folder / f"mox-my{kind}")]
    installed = run_clean(*pip, "--no-build-isolation", *projects)
    assert installed.returncode == 0, installed.stderr
    yield folder
    removed = run_clean("pip", "uninstall", "--quiet", "--yes", *(f"mox-my{kind}" for kind in KINDS))
    assert removed.returncode == 0, removed.stderr


@pytest.mark.wheels
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_of_each_kind_pass_at_once(kind, run_clean, written):
    result = run_clean("python", "-m", "pytest", "-q", cwd=written / f"mox-my{kind}")
    assert result.returncode == 0, result.stdout + result.stderr
    # No warning. Skipped is what needs mox-export, which is not in the clean environment.
    assert re.search(r"^\d+ passed(, 1 skipped)? in ", result.stdout, re.MULTILINE), result.stdout


SCRIPT = """
import sys
from pathlib import Path

import mox_core as mox
import tensorflow as tf

folder = Path(sys.argv[1])
for split, size in mox.get_dataset_meta("mydataset").splits_to_sizes.items():
    for number in range(size):  # dark cats and light dogs
        path = folder / "data" / split / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(tf.fill([40, 48, 3], tf.cast(number % 2 * 255, tf.uint8))).numpy())


def input_fn(mode):
    dataset = mox.get_dataset("mydataset", "train", str(folder / "data"))
    image, label = dataset.get(["image", "label"])
    return mox.get_data_augmentation_fn("myaugmentation", mode)(image), label


def model_fn(inputs, mode):
    images, labels = inputs
    logits, end_points = mox.get_model_fn("mynetwork", mode, num_classes=2, weight_decay=1e-4)(images)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    decay = tf.add_n(mox.get_collection(tf.compat.v1.GraphKeys.REGULARIZATION_LOSSES))
    return mox.ModelSpec(
        loss=loss + decay,
        log_info={"loss": loss},
        hooks=[mox.MyhookHook(loss, target=0.3)],
        export_spec=mox.ExportSpec({"images": images}, {"predictions": end_points["predictions"]}),
    )


def optimizer_fn():
    return mox.get_optimizer_wrapper_fn("mywrapper", mox.get_optimizer_fn("myoptimizer", 0.003)())()


result = mox.run(
    input_fn=input_fn,
    model_fn=model_fn,
    optimizer_fn=optimizer_fn,
    run_mode=mox.ModeKeys.TRAIN,
    batch_size=6,
    log_dir=folder / "log",
    max_number_of_steps=500,
    export_model=mox.ExportKeys.MYEXPORTER,
)
print(result.stopped_by)
names = dict(tf.train.list_variables(result.checkpoint))
print(names["mynetwork/conv1/kernel"], names["mynetwork/conv1/kernel/momentum"])
print(*sorted(path.name for path in Path(result.export_path).glob("*.*")))
"""


@pytest.mark.wheels
@pytest.mark.slow
@pytest.mark.usefixtures("written")
def test_one_run_uses_one_of_each_kind(run_clean, tmp_path):
    listed = run_clean("mox", "plugins")
    assert re.findall(r"  mox-my(\w+) 0\.1\.0  ready$", listed.stdout, re.MULTILINE) == sorted(KINDS)
    result = run_clean("python", "-c", SCRIPT, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines() == [
        "MyhookHook",
        "[3, 3, 3, 16] [3, 3, 3, 16]",
        "fingerprint.pb model.json saved_model.pb",
    ]
