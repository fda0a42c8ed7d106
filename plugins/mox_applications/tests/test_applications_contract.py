"""Networks and augmentations keep to the contracts of the kit: one of each family, here a small one, in small images.

Parameters are worked out from those that keras.io publishes; `test_applications_keras.py` counts them for all names.
"""

import pytest

from mox_core.testing import AugmentationContract, NetworkContract


class _Family(NetworkContract):
    image_size = 32
    batch_size = 2


@pytest.mark.networks
class _Deep(_Family):
    pass


class _Normalized(_Deep):
    """Images of which more than a pixel is left: two of one pixel normalize to -1 and 1, and gradients are 1e8."""

    image_size = 64
    batch_size = 4


@pytest.mark.slow
class TestMobileNet(_Family):
    network = "mobilenet"
    # 4,253,864 parameters with 1000 classes (keras.io), 21,888 of them averages, and 1025 for each class.
    parameters = 4_253_864 - 21_888 - 990 * 1025


class TestMobileNetV3(_Deep):
    network = "mobilenet_v3_small"
    # 2,554,968 parameters with 1000 classes in Keras's summary, 12,112 of them averages, and 1025 for each class.
    parameters = 2_554_968 - 12_112 - 990 * 1025


class TestConvNeXt(_Deep):
    network = "convnext_tiny"
    parameters = 28_589_128 - 990 * 769


class TestDenseNet(_Normalized):
    network = "densenet_121"


class TestEfficientNet(_Normalized):
    network = "efficientnet_b0"


class TestEfficientNetV2(_Normalized):
    network = "efficientnet_v2_b0"


class TestInceptionV3(_Deep):
    network = "applications/inception_v3"
    image_size = 75


class TestInceptionResNetV2(_Deep):
    network = "applications/inception_resnet_v2"
    image_size = 75


class TestMobileNetV2(_Deep):
    network = "applications/mobilenet_v2"


class TestNasNet(_Deep):
    network = "applications/nasnet_mobile"


class TestResNet(_Normalized):
    network = "resnet_50"
    parameters = 25_636_712 - 53_120 - 990 * 2049


class TestResNetV2(_Normalized):
    network = "resnet_50_v2"


class TestVgg(_Deep):
    network = "applications/vgg_16"
    # Without its first dense layer those of any size: 14,714,688 in convolutions.
    parameters = 14_714_688 + (512 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 10


class TestXception(_Deep):
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
