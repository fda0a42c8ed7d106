import os
import sys

import pytest

import forked
from mox_core import cli

SOURCE = '''
from __future__ import annotations

import functools
from mox_core.plugins import *

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("plain", "good.plugin:plain", summary="plain descent")

@hookimpl
def mox_optimizer_wrappers():
    yield OptimizerWrapperOffer("slow", "good.plugin:slow", summary="goes slower")

@hookimpl
def mox_datasets():
    meta = DatasetMeta(10, splits_to_sizes={"train": 60})
    yield DatasetOffer("digits", "good.plugin:Digits", summary="handwritten digits", meta=meta)

@hookimpl
def mox_augmentations():
    yield AugmentationOffer("flip", "good.plugin:flip", summary="flips")

@hookimpl
def mox_exporters():
    yield ExporterOffer("LOST", "good.not_there:export", summary="cannot be imported")

@hookimpl
def mox_api():
    yield ApiOffer("ANSWER", "good.plugin:ANSWER", summary="a number")

@hookimpl
def mox_commands():
    yield CommandOffer("zoo", "good.plugin:zoo", summary="lists networks")

def halve(value: float) -> float:
    return value / 2

def plain(learning_rate: float, *, schedule: Schedule = halve, name: str = "plain") -> Optimizer:
    """Make one.

    Args:
        learning_rate: how far it goes.
    """

def slow(optimizer, *, factor=2):
    """Go slower than the optimizer that is given."""

class Digits:
    """Digits in files."""

    def __init__(self, *, split_name: str, dataset_dir: str) -> None:
        pass

flip = functools.partial(slow, factor=3)

def zoo(arguments: list[str]) -> int:
    return 0

ANSWER = 42
'''

NETS = '''
from mox_core.plugins import *

@hookimpl
def mox_networks():
    meta = NetworkMeta(default_image_size=4, default_labels_offset=0)
    yield NetworkOffer("mlp", "nets.plugin:mlp", summary="a dense layer", meta=meta)
    yield NetworkOffer("deep", "nets.plugin:deep", summary="cannot be built", meta=meta)

def mlp(*, run_mode, num_classes, **options):
    """A dense layer behind a normalization."""
    import keras

    def network(images):
        net = keras.layers.BatchNormalization()(images)
        return keras.layers.Dense(num_classes)(keras.layers.Flatten()(net)), {}

    return network

def deep(*, run_mode, num_classes, depth):
    return None
'''


@pytest.fixture
def good(fresh_plugins, install_fake):  # noqa: ARG001  (no other plugin is there)
    install_fake("good", "good", SOURCE, version="0.3")


@pytest.mark.usefixtures("good")
def test_an_offer_is_shown_with_its_owner_and_the_signature_and_docstring_of_its_target(capsys):
    assert cli.main(["show", "optimizer", "plain"]) == 0
    assert capsys.readouterr().out == (
        "optimizer plain: plain descent\n"
        "  offered by  good (good 0.3)\n"
        "  target      good.plugin:plain\n"
        "  signature   plain(learning_rate: float, *, schedule: Schedule = halve, name: str = 'plain') -> Optimizer\n"
        "\n"
        "  Make one.\n"
        "\n"
        "  Args:\n"
        "      learning_rate: how far it goes.\n"
    )


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["wrapper", "good/slow"], ["optimizer wrapper slow: goes slower", "slow(optimizer, *, factor=2)"]),
        (["dataset", "digits"], ["data set digits: handwritten digits", "num_classes      10", "'train': 60"]),
        (["dataset", "digits"], ["Digits(*, split_name: str, dataset_dir: str) -> None", "  Digits in files."]),
        (["augmentation", "flip"], ["flip(optimizer, *, factor=3)", "  Go slower than the optimizer that is given."]),
        (["command", "zoo"], ["zoo(arguments: list[str]) -> int", "  (it has no docstring)"]),
        (["api", "ANSWER"], ["public name ANSWER: a number", "signature   none"]),
        (["hook", "ANSWER"], ["public name ANSWER: a number"]),
    ],
)
def test_each_kind_can_be_shown(capsys, arguments, lines):
    assert cli.main(["show", *arguments]) == 0
    printed = capsys.readouterr().out
    assert [line for line in lines if line not in printed] == []


@pytest.mark.usefixtures("good")
def test_a_name_that_nobody_offers_is_refused_as_in_a_script(capsys):
    assert cli.main(["show", "optimizer", "plian"]) == 2
    assert capsys.readouterr().err == ("mox: error: unknown optimizer 'plian'.\nDid you mean 'plain'?\nKnown: plain\n")


@pytest.mark.usefixtures("good")
def test_a_name_of_two_plugins_is_refused_until_it_is_said_which_one(install_fake, capsys):
    install_fake("other", "other", SOURCE.replace("good.", "other."))
    assert cli.main(["show", "optimizer", "plain"]) == 2
    assert "Say which one: 'good/plain' or 'other/plain'." in capsys.readouterr().err
    assert cli.main(["show", "optimizer", "other/plain"]) == 0
    assert "offered by  other (other 1.0); of this name is also 'good/plain'\n" in capsys.readouterr().out


@pytest.mark.usefixtures("good")
def test_a_name_that_another_plugin_yields_is_shown(install_fake, capsys):
    source = SOURCE.replace("good.", "other.").replace('"plain descent"', '"plain descent", yields=True')
    install_fake("other", "other", source)
    assert cli.main(["show", "optimizer", "plain"]) == 0
    assert "offered by  good (good 0.3); of this name is also 'other/plain'\n" in capsys.readouterr().out


@pytest.mark.usefixtures("good")
def test_a_target_that_cannot_be_imported_is_one_message(capsys):
    assert cli.main(["show", "exporter", "LOST"]) == 2
    assert capsys.readouterr().err == (
        "mox: error: exporter 'LOST' cannot be imported from 'good.not_there:export': "
        "ModuleNotFoundError: No module named 'good.not_there'\n"
    )


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["show", "networks", "mlp"])
    assert caught.value.code == 2
    assert "invalid choice: 'networks' (choose from " in capsys.readouterr().err


@pytest.mark.usefixtures("good")
def test_a_long_signature_is_folded_under_itself(install_fake, capsys):
    options = ", ".join(f"option_{number}: int = {number}" for number in range(8))
    source = SOURCE.replace("optimizer, *, factor=2", f"optimizer, *, {options}").replace("good.", "long.")
    install_fake("long", "long", source)
    assert cli.main(["show", "wrapper", "long/slow"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[3].startswith("  signature   slow(optimizer, *, option_0: int = 0, option_1: int = 1, ")
    assert lines[4].startswith("                ")
    assert lines[4].endswith("option_7: int = 7)")
    assert max(map(len, lines)) <= 110


def test_the_parameters_of_a_network_are_counted_where_it_can_be_built(install_fake):
    program = "import sys; from mox_core.cli import main; sys.exit(max(main(['show', 'network', n]) for n in NAMES))"
    run = forked.run(
        [sys.executable, "-c", program.replace("NAMES", "['mlp', 'deep']")],
        env={**os.environ, "PYTHONPATH": str(install_fake("nets", "nets", NETS)), "MOX_STRICT_PLUGINS": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    mlp, _, deep = run.stdout.partition("network deep")
    # 4 x 4 x 3 numbers to 1000 logits with biases, a scale and an offset a channel; a mean and a variance a channel.
    assert "  parameters              49,006 trainable, 6 others, with 1000 classes and images of 4 x 4\n" in mlp
    assert "  default_image_size      4\n" in mlp
    assert mlp.endswith("\n\n  A dense layer behind a normalization.\n")
    assert "  parameters              cannot be counted for 1000 classes and images of 4 x 4: TypeError: " in deep
    assert "  signature               deep(*, run_mode, num_classes, depth)\n" in deep
