import json
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
        cli.main(["show", "netwroks", "mlp"])
    assert caught.value.code == 2
    assert "invalid choice: 'netwroks' (choose from " in capsys.readouterr().err


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
    assert "  multiply-adds           48,000 an image, in convolutions and products of matrices\n" in mlp
    # 49,012 numbers of 4 bytes; results that the gradients need: the normalized images of a batch, and little else
    assert (
        "  memory                  0.2 MiB of weights; in training 0.2 MiB of gradients, 0.2 MiB for each slot" in mlp
    )
    blocks = mlp[mlp.index("  block") : mlp.index("\n\n  A dense")].splitlines()
    assert [line.split() for line in blocks] == [
        ["block", "output", "parameters", "multiply-adds"],
        ["batch_normalization", "4", "x", "4", "x", "3", "12", "0"],
        ["dense", "1000", "49,000", "48,000"],
    ]
    assert mlp.endswith("\n\n  A dense layer behind a normalization.\n")
    assert "  parameters              cannot be counted for 1000 classes and images of 4 x 4: TypeError: " in deep
    assert "  signature               deep(*, run_mode, num_classes, depth)\n" in deep


LISTED = (
    NETS
    + """
@hookimpl
def mox_augmentations():
    return []
"""
)
LISTED = LISTED.replace(
    "    yield NetworkOffer(",
    "    for name, size in (('net_v1_50', 25_600_000), ('net_v1_18', 11_700_000), ('net_v2_50', 25_500_000)):\n"
    "        small = NetworkMeta(224, 0, parameters=size)\n"
    "        yield NetworkOffer(name, 'nets.plugin:mlp', summary='of ' + name[-2:], meta=small)\n"
    "    yield NetworkOffer(",
    1,
)


@pytest.fixture
def nets(fresh_plugins, install_fake):  # noqa: ARG001  (no other plugin is there)
    install_fake("nets", "nets", LISTED)


@pytest.mark.usefixtures("nets")
def test_networks_are_listed_by_family_and_size_and_none_is_built(capsys):
    assert cli.main(["show", "networks"]) == 0
    out, err = capsys.readouterr()
    assert out == (
        "network    family  parameters  images  what it is\n"
        "deep       deep    ?           4       cannot be built\n"
        "mlp        mlp     ?           4       a dense layer\n"
        "net_v1_18  net_v1  11.7 M      224     of 18\n"
        "net_v1_50  net_v1  25.6 M      224     of 50\n"
        "net_v2_50  net_v2  25.5 M      224     of 50\n"
        "?: not known without building it; --count does, in some seconds for each.\n"
    )
    assert not err


@pytest.mark.usefixtures("nets")
@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["net*"], ["net_v1_18", "net_v1_50", "net_v2_50"]),
        (["NET_*_50"], ["net_v1_50", "net_v2_50"]),
        (["v1"], ["net_v1_18", "net_v1_50"]),
        (["ML"], ["mlp"]),
        (["et_v2"], ["net_v2_50"]),
        (["p"], ["deep", "mlp"]),
        (["5"], ["net_v1_50", "net_v2_50"]),
        (["net*", "--max_params", "25.55M"], ["net_v1_18", "net_v2_50"]),
        (["net*", "--max_params=11700k"], ["net_v1_18"]),
        (["net*", "--max_params", "5"], []),
    ],
)
def test_networks_are_chosen_by_a_pattern_and_a_size(arguments, names, capsys):
    assert cli.main(["show", "networks", *arguments, "--json"]) == 0
    assert [each["name"] for each in json.loads(capsys.readouterr().out)] == names


@pytest.mark.usefixtures("nets")
def test_a_pattern_that_no_network_matches_is_refused_with_what_is_near(capsys):
    assert cli.main(["show", "networks", "nte_v1*"]) == 2
    assert capsys.readouterr().err.startswith("mox: error: no network matches 'nte_v1*'. Did you mean 'net_v1_")
    with pytest.raises(SystemExit):
        cli.main(["show", "networks", "--max_params", "many"])
    assert "'many' is no number of parameters, as 10M or 500K" in capsys.readouterr().err


@pytest.mark.usefixtures("good")
def test_the_sizes_of_networks_are_asked_of_networks(capsys):
    with pytest.raises(SystemExit):
        cli.main(["show", "optimizer", "plain", "--batch_size", "8"])
    assert "--batch_size is of networks, and optimizer 'plain' is none" in capsys.readouterr().err
