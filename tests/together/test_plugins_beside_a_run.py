"""Installing a plugin makes names available; it never changes a run until somebody names one of them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.plugins import loader

ZOO = """
from mox_core.plugins import *

@hookimpl
def mox_networks():
    meta = NetworkMeta(default_image_size=32, default_labels_offset=0)
    yield NetworkOffer("zoo_net", "zoo.targets:net", summary="a network", meta=meta)

@hookimpl
def mox_augmentations():
    yield AugmentationOffer("zoo_net", "zoo.targets:augment", summary="an augmentation")

@hookimpl
def mox_optimizers():
    yield OptimizerOffer("zoo_descent", "zoo.targets:optimizer", summary="an optimizer")

@hookimpl(tryfirst=True)
def mox_optimizer_wrappers():
    yield OptimizerWrapperOffer("zoo_wrapper", "zoo.targets:wrapper", summary="a wrapper")

@hookimpl
def mox_datasets():
    meta = DatasetMeta(num_classes=10, splits_to_sizes={"train": 60})
    yield DatasetOffer("zoo_images", "zoo.targets:Images", summary="a data set", meta=meta)

@hookimpl
def mox_exporters():
    yield ExporterOffer("ZOO", "zoo.targets:export", summary="a format")

@hookimpl
def mox_api():
    yield ApiOffer("ZooHook", "zoo.targets:Hook", summary="a session hook")

@hookimpl
def mox_commands():
    yield CommandOffer("zoo", "zoo.targets:main", summary="a command")
"""


def input_fn(_mode):
    return tf.random.uniform([4]), tf.random.uniform([1])


def model_fn(inputs, _mode):
    values, wanted = inputs
    weights = tf.compat.v1.get_variable("weights", [4, 3])
    got = tf.keras.layers.Dense(1)(tf.nn.dropout(values @ weights, 0.5))
    loss = tf.reduce_mean((got - wanted) ** 2)
    return mox.ModelSpec(
        loss=loss,
        log_info={"loss": loss},
        export_spec=mox.ExportSpec(inputs_dict={"values": values}, outputs_dict={"got": got}),
    )


def own_optimizer():
    return tf.compat.v1.train.MomentumOptimizer(0.1, 0.9)


def own_exporter(model, directory):
    Path(directory, "inputs.txt").write_text(" ".join(model.inputs), encoding="utf-8")


def train(log_dir, optimizer_fn, export_model):
    tf.random.set_seed(7)
    result = mox.run(
        input_fn=input_fn,
        model_fn=model_fn,
        optimizer_fn=optimizer_fn,
        run_mode=mox.ModeKeys.TRAIN,
        batch_size=4,
        max_number_of_steps=8,
        log_dir=log_dir,
        export_model=export_model,
    )
    reader = tf.train.load_checkpoint(result.checkpoint)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map() if "OBJECT_GRAPH" not in name}


@pytest.mark.parametrize("names_something", [False, True], ids=["own functions", "names of other plugins"])
def test_a_run_is_the_same_whatever_else_is_installed(install_fake, tmp_path, names_something):
    optimizer_fn, exporter = own_optimizer, own_exporter
    if names_something:
        optimizer_fn = mox.get_optimizer_fn("momentum", 0.1, momentum=0.9)
        exporter = mox.ExportKeys.TF_SERVING
    alone = train(tmp_path / "alone", optimizer_fn, exporter)

    folder = install_fake("zoo", "zoo", ZOO)
    (folder / "zoo" / "targets.py").write_text("raise AssertionError('nobody named it')\n", encoding="utf-8")
    if names_something:
        optimizer_fn = mox.get_optimizer_fn("momentum", 0.1, momentum=0.9)
        assert "zoo" in [plugin.name for plugin in loader.installed_plugins().plugins]
    beside = train(tmp_path / "beside", optimizer_fn, exporter)

    assert set(alone) == set(beside) > {"weights", "weights/Momentum"}
    for name, value in alone.items():
        np.testing.assert_array_equal(value, beside[name], err_msg=name)
    assert "zoo.targets" not in sys.modules
    assert ("zoo.plugin" in sys.modules) == names_something
