"""MobileNets, NASNets, ResNeXts and Xceptions keep to the contract of the kit: one network of each family.

The counts are those of TF-slim's and DeepLab's own programs.
"""

import pytest

from mox_core.testing import NetworkContract


class TestMobilenetV1(NetworkContract):
    network = "mobilenet_v1_025"
    num_classes = 1000
    parameters = 470_072
    image_size = 32


@pytest.mark.networks
class _Deep(NetworkContract):
    num_classes = 1000
    image_size = 32
    batch_size = 2


class TestMobilenetV2(_Deep):
    network = "mobilenet_v2_035"
    parameters = 1_677_128


class TestNasnet(_Deep):
    network = "nasnet_cifar"
    parameters = 6_500_656  # with those of the auxiliary logits


class TestPnasnet(_Deep):
    network = "pnasnet_mobile"
    num_classes = 10
    image_size = 72


class _Resnext(_Deep):
    """Images of which more than a pixel is left: two of one pixel normalize to -1 and 1, and gradients are 1e8."""

    image_size = 64
    batch_size = 4


class TestResnextOneByOne(_Resnext):
    network = "resnext_b_50"
    parameters = 25_028_904


class TestResnextGrouped(_Resnext):
    network = "resnext_c_50"
    parameters = 25_028_904


class TestXception(_Deep):
    network = "xception_41"
    parameters = 26_969_560
