"""How large networks are: against calculations by hand and published figures."""

import keras
import pytest
import tensorflow as tf

import mox_core as mox
from mox_core.commands import network_size

SIZE = {"num_classes": 10, "image_size": 32}


def test_the_network_of_20_layers_has_the_figures_of_its_paper():
    size = network_size.measure("resnet_v1_20", **SIZE)
    # He et al. 2015, table 6: 0.27 M parameters. 3x3 convolutions, six a block; 41 M multiply-adds with the shortcuts.
    block1 = 6 * 32**2 * 16 * 16 * 9
    others = 16**2 * (16 * 32 + 5 * 32 * 32) * 9, 8**2 * (32 * 64 + 5 * 64 * 64) * 9
    expected = {"conv1": 32**2 * 16 * 27, "block1": block1, "block2": others[0], "block3": others[1], "logits": 640}
    assert {block.name: block.multiply_adds for block in size.blocks} == expected
    assert size.multiply_adds == sum(expected.values()) == pytest.approx(41e6, rel=0.02)
    assert size.trainable == pytest.approx(0.27e6, rel=0.01)
    assert sum(block.parameters for block in size.blocks) == size.trainable + size.others
    assert [block.output_shape for block in size.blocks] == [
        [1, 32, 32, 16], [1, 32, 32, 16], [1, 16, 16, 32], [1, 8, 8, 64], [1, 1, 1, 10],
    ]  # fmt: skip
    assert size.not_counted == []


@pytest.mark.slow
def test_the_network_of_50_layers_has_the_figures_of_slim():
    size = network_size.measure("resnet_v1_50", num_classes=1000, image_size=224)
    # Slim strides in the last unit of a block: 6.97 G operations, 3.48 G multiply-adds; the paper has 3.8 G, Keras,
    # whose projections are strided before, 3.9 G.
    assert size.multiply_adds == pytest.approx(3.48e9, rel=0.002)
    assert size.trainable == 25_557_032, "torchvision's and Keras's, without the biases before normalizations"
    assert mox.get_model_meta("resnet_v1_50").parameters == size.trainable + size.others


def test_the_sizes_that_a_meta_tells_are_those_that_are_counted():
    counted = network_size.count("resnet_v1_20", num_classes=1000, image_size=32)
    assert sum(counted) == mox.get_model_meta("resnet_v1_20").parameters


def mobile(*, run_mode, num_classes, **options):
    del options, run_mode

    def network(images):
        return keras.applications.MobileNetV2(weights=None, classes=num_classes, classifier_activation=None)(images), {}

    return network


@pytest.mark.slow
def test_a_network_of_keras_has_the_figures_of_its_paper_in_blocks():
    size = network_size.measure(mobile, num_classes=1000, image_size=224)
    # Sandler et al. 2018 (arXiv 1801.04381), table 4: 3.4 M parameters, 300 M multiply-adds.
    assert size.multiply_adds == pytest.approx(300e6, rel=0.005)
    assert size.trainable + size.others == 3_538_984, "as Keras counts them"
    names = [block.name for block in size.blocks]
    assert [name for name in names if name.startswith("block_")] == [f"block_{number}" for number in range(1, 17)]
    assert sum(block.parameters for block in size.blocks) == 3_538_984


def two(*, run_mode, num_classes, **options):
    """Three convolutions whose scopes TensorFlow numbers, and layers enough for blocks."""
    del options, run_mode, num_classes

    def network(images):
        with tf.name_scope("conv"):
            net = tf.identity(images)
        for name, filters in (("conv", 4), *((f"block{number}_{part}", 4) for number in range(21) for part in "ab"),
                              ("conv_1", 5)):  # fmt: skip
            net = keras.layers.Conv2D(filters, 1, use_bias=False, name=name)(net)
        return net[:, 0, 0], {}

    return network


def test_blocks_are_in_order_and_a_layer_is_not_counted_into_that_whose_name_is_numbered():
    size = network_size.measure(two, **SIZE)
    expected = [("conv", 3 * 4), *((f"block{number}", 2 * 4 * 4) for number in range(21)), ("conv_1", 4 * 5)]
    assert [(block.name, block.parameters) for block in size.blocks] == expected


def layers(*, run_mode, num_classes, **options):
    del options, run_mode

    def network(images):
        net = keras.layers.Conv2D(4, 3, padding="same", groups=1, name="plain")(images)
        net = keras.layers.Conv2D(8, 3, padding="same", groups=2, name="grouped", activation="relu")(net)
        net = keras.layers.DepthwiseConv2D(5, strides=2, padding="same", name="depthwise")(net)
        net = keras.layers.Conv2DTranspose(6, 2, strides=2, name="transposed")(net)
        net = keras.layers.Conv1D(3, 3, padding="same", name="rows")(tf.reshape(net, [-1, 32 * 32, 6]))
        net = keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 7), name="einsum")(net)
        net = tf.function(lambda each: tf.matmul(each, tf.ones([7, 2])))(net[:, 0])
        return keras.layers.Dense(num_classes, name="head")(net), {}

    return network


def test_each_kind_of_layer_is_counted_as_by_hand():
    size = network_size.measure(layers, **SIZE)
    assert {block.name: block.multiply_adds for block in size.blocks if "Call" not in block.name} == {
        "plain": 32**2 * 4 * 27,
        "grouped": 32**2 * 8 * 2 * 9,
        "depthwise": 16**2 * 8 * 25,
        "transposed": 16**2 * 8 * 6 * 4,
        "rows": 32**2 * 3 * 6 * 3,
        "einsum": 32**2 * 3 * 7,
        "head": 20,
    }
    assert size.multiply_adds - sum(block.multiply_adds for block in size.blocks if "Call" not in block.name) == 14
    assert {block.name: block.parameters for block in size.blocks}["grouped"] == 3 * 3 * 2 * 8 + 8


def test_memory_counts_weights_gradients_slots_and_what_the_gradients_need():
    def dense(*, run_mode, num_classes, **options):
        del options, run_mode

        def network(images):
            hidden = keras.layers.Dense(50, activation="relu")(tf.reshape(images, [-1, 32 * 32 * 3]) * 2.0)
            return keras.layers.Dense(num_classes)(hidden), {}

        return network

    found = network_size.memory(dense, **SIZE, batch_size=8)
    weights = 4 * (32 * 32 * 3 * 50 + 50 + 50 * 10 + 10)
    assert (found.weights, found.gradients, found.slot) == (weights, weights, weights)
    assert found.activations == 4 * 8 * (32 * 32 * 3 + 50), "the doubled images, and the hidden layer behind its ReLU"
