"""`mox check`: what it runs of a plugin for which no test is written, and what it says."""

import os
import sys

import pytest

import forked
from mox_core.errors import UnknownNameError
from mox_core.testing.check import check

SOURCE = """
from mox_core.plugins import (
    ApiOffer, AugmentationOffer, DatasetMeta, DatasetOffer, ExporterOffer, NetworkMeta, NetworkOffer, OptimizerOffer,
    OptimizerWrapperOffer, hookimpl,
)

@hookimpl
def mox_networks():
    meta = NetworkMeta(default_image_size=4, default_labels_offset=0)
    yield NetworkOffer("tiny", "kit.targets:tiny", summary="one dense layer", meta=meta)

@hookimpl
def mox_augmentations():
    yield AugmentationOffer("flips", "kit.targets:flips", summary="flips at random")
    yield AugmentationOffer("needing", "kit.targets:needing", summary="needs an option")

@hookimpl
def mox_datasets():
    meta = DatasetMeta(num_classes=2, splits_to_sizes={"train": 4})
    yield DatasetOffer("birds", "kit.targets:Birds", summary="pictures of birds", meta=meta)

@hookimpl
def mox_exporters():
    yield ExporterOffer("NAMES", "kit.targets:names", summary="names of outputs")

@hookimpl
def mox_api():
    yield ApiOffer("QuietHook", "kit.targets:QuietHook", summary="does nothing")
    yield ApiOffer("NeedyHook", "kit.targets:NeedyHook", summary="needs an argument")
    yield ApiOffer("a_number", "kit.targets:a_number", summary="the number three")
"""
TARGETS = """
import pathlib

import keras
import tensorflow as tf

import mox_core as mox

def tiny(*, run_mode, num_classes, **options):
    return lambda images: (keras.layers.Dense(num_classes)(tf.reshape(images / 255, [-1, 48])), {})

def flips(*, run_mode, output_height, output_width):
    def augment(image):
        image = tf.ensure_shape(tf.image.resize(tf.cast(image, tf.float32), [8, 8]), [8, 8, 3])
        return image * tf.random.uniform([]) if run_mode == "TRAIN" else image
    return augment

def needing(*, run_mode, output_height, output_width, strength):
    return lambda image: image

class Birds:
    def __init__(self, *, split_name, dataset_dir):
        pass

    def get(self, names):
        pass

def names(model, directory):
    model.function(**{name: tf.zeros([1, 3]) for name in model.inputs})
    pathlib.Path(directory, "names.txt").write_text(", ".join(model.outputs))

class QuietHook(mox.AggregativeSessionRunHook):
    def support_aggregation(self):
        return False

    def support_sync_workers(self):
        return False

    def run_inter_mode(self):
        return False

class NeedyHook(QuietHook):
    def __init__(self, value):
        super().__init__()

a_number = 3
"""


ONLY_FLIPS = (
    SOURCE.partition("@hookimpl")[0]
    + """
@hookimpl
def mox_augmentations():
    yield AugmentationOffer("flips", "kit.targets:flips", summary="flips at random")
"""
)


@pytest.fixture
def kit(install_fake):
    site = install_fake("kit", "kit", SOURCE)
    (site / "kit" / "targets.py").write_text(TARGETS, encoding="utf-8")
    return site


@pytest.mark.slow
@pytest.mark.usefixtures("kit")
def test_all_that_a_plugin_offers_is_checked_and_the_rest_told(capsys):
    assert check("kit") == 0
    said = capsys.readouterr().out
    assert "FAILS" not in said
    for heading in (
        "plugin kit (kit 1.0)",
        "network 'tiny'",
        "augmentation 'flips'",
        "exporter 'NAMES'",
        "public name 'QuietHook'",
    ):
        assert f"\n{heading}\n" in f"\n{said}", said
    assert "  holds    train differs between samples\n" in said
    assert (
        "  not run  it has the published number of parameters\n"
        "           network 'kit/tiny' has 490 trainable parameters: give the published number as `parameters`\n"
    ) in said
    assert (
        "  not run  what is loaded back takes batches of any size\n"
        "           needs a test of its own: ExporterContract.predict says how the format is loaded\n"
    ) in said
    assert sorted(said.splitlines()[-4:-1]) == [
        "needs a test of its own: augmentation 'needing': give `options` of its contract; it needs strength.",
        "needs a test of its own: data set 'birds': it reads data, which DatasetContract.dataset makes.",
        "needs a test of its own: public name 'NeedyHook': HookContract.hook makes it; it needs value.",
    ]
    assert said.splitlines()[-1].endswith(" checks hold, 0 fail, 3 were not run.")


def test_what_fails_is_told_with_what_to_mend(kit, capsys):
    targets = (kit / "kit" / "targets.py").read_text(encoding="utf-8")
    broken = targets.replace('if run_mode == "TRAIN" else image', "")
    (kit / "kit" / "targets.py").write_text(broken, encoding="utf-8")
    only_flips = (
        SOURCE[: SOURCE.index("@hookimpl")]
        + SOURCE[SOURCE.index("@hookimpl\ndef mox_aug") : SOURCE.index('    yield AugmentationOffer("needing"')]
    )
    (kit / "kit" / "plugin.py").write_text(only_flips, encoding="utf-8")
    assert check("kit.plugin") == 1
    said = capsys.readouterr().out
    assert "  holds    train differs between samples\n" in said
    assert (
        "  FAILS    eval is always the same\n"
        "           augmentation 'kit/flips' returns different results for one image in EVAL: draw random numbers "
        "where run_mode is TRAIN only.\n"
    ) in said
    assert said.endswith("9 checks hold, 1 fail, 0 were not run.\n")


def test_what_a_plugin_raises_is_shown_with_the_place(kit, capsys):
    targets = (kit / "kit" / "targets.py").read_text(encoding="utf-8")
    broken = targets.replace(
        "    def augment(image):\n", "    def augment(image):\n        raise ValueError('no image')\n"
    )
    (kit / "kit" / "targets.py").write_text(broken, encoding="utf-8")
    only_flips = (
        SOURCE[: SOURCE.index("@hookimpl")]
        + SOURCE[SOURCE.index("@hookimpl\ndef mox_aug") : SOURCE.index('    yield AugmentationOffer("needing"')]
    )
    (kit / "kit" / "plugin.py").write_text(only_flips, encoding="utf-8")
    assert check("kit") == 1
    said = capsys.readouterr().out
    assert "augmenting by augmentation 'kit/flips' in TRAIN fails: ValueError: no image" in said
    assert 'kit/targets.py", line ' in said


def test_a_plugin_that_is_broken_is_told_with_its_reason(install_fake, monkeypatch, capsys):
    monkeypatch.delenv("MOX_STRICT_PLUGINS", raising=False)
    install_fake("kit", "kit", "import not_there")
    assert check("kit") == 1
    assert "ModuleNotFoundError: No module named 'not_there'" in capsys.readouterr().out


def test_an_unknown_plugin_is_told_with_those_that_are_there():
    with pytest.raises(UnknownNameError) as error:
        check("resnt")
    assert str(error.value).startswith("no plugin is called 'resnt', and none has such a module.\nDid you mean 'resnet")
    assert "\nInstalled: " in str(error.value)


def test_the_command_ends_with_status_one_where_something_fails(kit):
    bad = 'def mox_networks():\n    yield NetworkOffer("tiny", "kit.lost:tiny", summary="lost", meta=META)\n'
    source = (
        "from mox_core.plugins import NetworkMeta, NetworkOffer, hookimpl\n\nMETA = NetworkMeta(4, 0)\n\n@hookimpl\n"
    )
    (kit / "kit" / "plugin.py").write_text(source + bad, encoding="utf-8")
    run = forked.run(
        [sys.executable, "-m", "mox_core.cli", "check", "kit"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(kit), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stderr
    assert "  FAILS    every target imports\n           PluginError: network 'tiny' cannot be imported" in run.stdout
    assert run.stdout.endswith("4 checks hold, 1 fail, 0 were not run.\n")
