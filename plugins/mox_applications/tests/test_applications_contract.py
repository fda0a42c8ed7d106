"""Networks and augmentations keep to the contracts of the kit: one of each family, here a small one, in small images.

Parameters are worked out from those that keras.io publishes; `test_applications_keras.py` counts them for all names.
"""

import pytest

from mox_core.testing import AugmentationContract, NetworkContract


class _Family(NetworkContract):
    image_size = 32
    batch_size = 2


@pytest.mark.slow
class TestMobileNet(_Family):
    network = "mobilenet"
    # 4,253,864 parameters with 1000 classes (keras.io), 21,888 of them averages, and 1025 for each class.
    parameters = 4_253_864 - 21_888 - 990 * 1025


@pytest.mark.networks
class TestMobileNetV3(_Family):
    network = "mobilenet_v3_small"
    # 2,554,968 parameters with 1000 classes in Keras's summary, 12,112 of them averages, and 1025 for each class.
    parameters = 2_554_968 - 12_112 - 990 * 1025


@pytest.mark.networks
class TestConvNeXt(_Family):
    network = "convnext_tiny"
    parameters = 28_589_128 - 990 * 769


@pytest.mark.networks
class TestDenseNet(_Family):
    network = "densenet_121"


@pytest.mark.networks
class TestEfficientNet(_Family):
    network = "efficientnet_b0"


@pytest.mark.networks
class TestEfficientNetV2(_Family):
    network = "efficientnet_v2_b0"


@pytest.mark.networks
class TestInceptionV3(_Family):
    network = "applications/inception_v3"
    image_size = 75


@pytest.mark.networks
class TestInceptionResNetV2(_Family):
    network = "applications/inception_resnet_v2"
    image_size = 75


@pytest.mark.networks
class TestMobileNetV2(_Family):
    network = "applications/mobilenet_v2"


@pytest.mark.networks
class TestNasNet(_Family):
    network = "applications/nasnet_mobile"


@pytest.mark.networks
class TestResNet(_Family):
    network = "resnet_50"
    parameters = 25_636_712 - 53_120 - 990 * 2049


@pytest.mark.networks
class TestResNetV2(_Family):
    network = "resnet_50_v2"


@pytest.mark.networks
class TestVgg(_Family):
    network = "applications/vgg_16"
    # Without its first dense layer those of any size: 14,714,688 in convolutions.
    parameters = 14_714_688 + (512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 10


@pytest.mark.networks
class TestXception(_Family):
    network = "xception"
    image_size = 71


class TestVggScheme(AugmentationContract):
    augmentation = "resnet_50"
    output_shape = (224, 224, 3)


class TestInceptionScheme(AugmentationContract):
    augmentation = "xception"
    options = {"output_height": 40, "output_width": 32}
    output_shape = (40, 32, 3)


class TestEfficientNetScheme(AugmentationContract):
    augmentation = "efficientnet_b1"
    output_shape = (240, 240, 3)
