"""Networks and augmentations keep to the contracts of the kit: one network of each kind of unit, scheme and size."""

import pytest

from mox_core.testing import AugmentationContract, NetworkContract


@pytest.mark.slow
class TestSmallImages(NetworkContract):
    network = "resnet_v1_20"
    parameters = 269_722  # arXiv 1512.03385, table 6: 0.27 M


@pytest.mark.slow
class TestBottleneckUnits(NetworkContract):
    network = "resnet_v1_50"
    num_classes = 1000
    parameters = 25_557_032  # TF-slim's, and torchvision's resnet50
    image_size = 32
    batch_size = 2


@pytest.mark.slow
class TestPreactivation(NetworkContract):
    network = "resnet_v2_50"
    num_classes = 1000
    parameters = 25_568_360  # TF-slim's
    image_size = 32
    batch_size = 2


class TestVgg(AugmentationContract):
    augmentation = "resnet_v1_50"
    options = {"output_height": 32, "output_width": 40, "resize_side_min": 40, "resize_side_max": 50}
    output_shape = (32, 40, 3)


class TestVggByDefault(AugmentationContract):
    augmentation = "resnet_v2_152"
    output_shape = (224, 224, 3)


class TestCifar(AugmentationContract):
    augmentation = "resnet_v1_110"
    output_shape = (32, 32, 3)


class TestCifarWithoutFlips(AugmentationContract):
    augmentation = "resnet_v1_20"
    options = {"output_height": 28, "output_width": 28, "random_flip": False}
    output_shape = (28, 28, 3)
