"""Networks and augmentations keep to the contracts of the kit: one network of each family.

Counts with 1000 classes are those of the papers' own programs, TF-slim or Keras; those with others follow from them.
"""

import pytest

from mox_core.testing import AugmentationContract, NetworkContract


class TestLenet(NetworkContract):
    network = "lenet"
    channels = 1
    # 5*5*1*32 + 32, 5*5*32*64 + 64, 7*7*64*1024 + 1024, 1024*10 + 10
    parameters = 832 + 51_264 + 3_212_288 + 10_250


class TestCifarnet(NetworkContract):
    network = "cifarnet"
    # 5*5*3*64 + 64, 5*5*64*64 + 64, 8*8*64*384 + 384, 384*192 + 192, 192*10 + 10
    parameters = 4_864 + 102_464 + 1_573_248 + 73_920 + 1_930


@pytest.mark.networks
class _Deep(NetworkContract):
    batch_size = 2


class TestAlexnet(_Deep):
    network = "alexnet_v2"


class TestOverfeat(_Deep):
    network = "overfeat"


class TestVgg(_Deep):
    network = "vgg_a"
    num_classes = 1000
    parameters = 132_863_336


class TestVggWithBatchNormalization(_Deep):
    network = "vgg_a_bn"


class TestInceptionV1(_Deep):
    network = "inception_v1"
    num_classes = 1000
    parameters = 6_617_624
    image_size = 48


class TestInceptionV2(_Deep):
    network = "inception_v2"
    num_classes = 1000
    parameters = 11_178_336
    image_size = 48


class TestInceptionV3(_Deep):
    network = "inception_v3"
    image_size = 107


class TestInceptionV4(_Deep):
    network = "inception_v4"
    image_size = 107


class TestInceptionResnetV2(_Deep):
    network = "inception_resnet_v2"
    image_size = 107


class TestInceptionScheme(AugmentationContract):
    augmentation = "inception_v3"
    options = {"output_height": 32, "output_width": 40}
    output_shape = (32, 40, 3)


class TestInceptionSchemeInFull(AugmentationContract):
    augmentation = "inception_resnet_v2"
    options = {"output_height": 32, "output_width": 40, "fast_mode": False, "random_flip": False}
    output_shape = (32, 40, 3)


class TestVggScheme(AugmentationContract):
    augmentation = "vgg_16"
    options = {"output_height": 32, "output_width": 40, "resize_side_min": 40, "resize_side_max": 50}
    output_shape = (32, 40, 3)


class TestCifarnetScheme(AugmentationContract):
    augmentation = "cifarnet"
    output_shape = (32, 32, 3)


class TestLenetScheme(AugmentationContract):
    augmentation = "lenet"
    output_shape = (28, 28, 3)
    deterministic = True


class TestLenetSchemeOfGreyImages(AugmentationContract):
    augmentation = "lenet"
    image_shape = (20, 40, 1)
    output_shape = (28, 28, 1)
    deterministic = True
