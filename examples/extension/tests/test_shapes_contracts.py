"""What mox asks of each kind of plugin, checked on one of each.

`WEIGHTS_NPZ` has no contract here: that of exporters loads a model back to predict with it, and weights are no model.
"""

import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.testing import (
    AugmentationContract,
    DatasetContract,
    HookContract,
    NetworkContract,
    OptimizerContract,
    OptimizerWrapperContract,
    PluginContract,
)


class TestPlugin(PluginContract):
    plugin_name = "shapes"


class TestNetwork(NetworkContract):
    network = "shapes_mlp"
    channels = 1
    parameters = (16 * 16 + 1) * 32 + (32 + 1) * 10


class TestAugmentation(AugmentationContract):
    augmentation = "shift"
    output_shape = (16, 16, 3)


class TestOptimizer(OptimizerContract):
    optimizer = "lion"
    options = {"learning_rate": 0.01}
    bad_options = {"beta1": 1.0, "beta2": -0.5}


class TestOptimizerWrapper(OptimizerWrapperContract):
    wrapper = "lookahead"
    options = {"period": 3}
    bad_options = {"period": 0, "rate": 2.0}


class TestDataset(DatasetContract):
    features = ("image", "label", "index")
    num_samples = 60
    key = "index"

    def dataset(self, folder, *, shuffle, num_epochs):
        mox.draw_shapes(folder)
        return mox.get_dataset("shapes", "eval", str(folder), shuffle=shuffle, num_epochs=num_epochs)


class TestHook(HookContract):
    steps = 12

    @pytest.fixture(autouse=True)
    def _path(self, tmp_path):
        self.path = tmp_path / "training.csv"

    def hook(self):
        return mox.CsvHook(self.path, {"one": tf.constant(1.0)}, every_n_steps=5)
