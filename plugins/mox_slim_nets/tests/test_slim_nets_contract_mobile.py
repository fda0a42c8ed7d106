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
class TestMobilenetV2(NetworkContract):
    network = "mobilenet_v2_035"
    num_classes = 1000
    parameters = 1_677_128
    image_size = 32
    batch_size = 2


@pytest.mark.networks
class TestNasnet(NetworkContract):
    network = "nasnet_cifar"
    num_classes = 1000
    parameters = 6_500_656  # with those of the auxiliary logits
    batch_size = 2


@pytest.mark.networks
class TestPnasnet(NetworkContract):
    network = "pnasnet_mobile"
    image_size = 72
    batch_size = 2


@pytest.mark.networks
class TestResnextOneByOne(NetworkContract):
    network = "resnext_b_50"
    num_classes = 1000
    parameters = 25_028_904
    image_size = 32
    batch_size = 2


@pytest.mark.networks
class TestResnextGrouped(NetworkContract):
    network = "resnext_c_50"
    num_classes = 1000
    parameters = 25_028_904
    image_size = 32
    batch_size = 2


@pytest.mark.networks
class TestXception(NetworkContract):
    network = "xception_41"
    num_classes = 1000
    parameters = 26_969_560
    image_size = 32
    batch_size = 2
