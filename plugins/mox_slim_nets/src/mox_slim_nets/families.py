"""The families of networks as data: their names, metadata and augmentation. A new family is one more entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


@frozen
class Augmentation:
    """A scheme of data augmentation.

    Attributes:
        target: where to import it, as `"package.module:object"`.
        summary: one line for listings.
    """

    target: str
    summary: str


@frozen
class Network:
    """What is a network's own.

    Attributes:
        summary: one line for listings.
        parameters: how many it has with 1000 classes, moving averages among them and auxiliary logits not.
    """

    summary: str
    parameters: int


VGG_SCHEME: Final = Augmentation("mox_core.networks.augmentation:vgg", "VGG scheme: random scale, random crop, flip")
INCEPTION_SCHEME: Final = Augmentation(
    "mox_core.networks.inception_augmentation:inception", "Inception scheme: random region, flip, colours"
)
CIFAR_SCHEME: Final = Augmentation("mox_core.networks.augmentation:cifar", "CIFAR scheme: shift by up to 4, flip")


@frozen(kw_only=True)
class Family:
    """Networks that lie in one module, and share metadata and augmentation.

    Attributes:
        networks: the networks by name, which is that of their function in the module.
        module: the module of this package where they lie.
        image_size: height and width of the images they are for, in pixels.
        labels_offset: number of labels before the first class.
        logits: part of the names of the variables that depend on the number of classes.
        augmentation: the augmentation, which is offered under the name of each network.
    """

    networks: Mapping[str, Network]
    module: str
    image_size: int = 224
    labels_offset: int = 0
    logits: str = "Logits"
    augmentation: Augmentation = INCEPTION_SCHEME


# ImageNet's labels count a background class as 0: what was converted from other programs has no logit for it, what was
# trained with slim has one.
FAMILIES: Final = (
    Family(
        networks={"lenet": Network("LeNet variant of 4 layers for digits", 4_290_984)},
        module="small",
        image_size=28,
        logits="fc4",
        augmentation=Augmentation("mox_slim_nets.augmentation:lenet", "crop or pad to the centre, nothing random"),
    ),
    Family(
        networks={"cifarnet": Network("network of 5 layers for small images", 1_947_496)},
        module="small",
        image_size=32,
        logits="logits",
        augmentation=Augmentation(
            "mox_slim_nets.augmentation:cifarnet", "CIFAR scheme: shift by up to 4, flip, brightness, contrast"
        ),
    ),
    Family(
        networks={"overfeat": Network("OverFeat of 8 layers, the fast model", 145_704_424)},
        module="classic",
        image_size=231,
        labels_offset=1,
        logits="fc8",
        augmentation=VGG_SCHEME,
    ),
    Family(
        networks={
            "alexnet_v2": Network("AlexNet, version 2, of 8 layers", 50_303_912),
            "vgg_a": Network("VGG of 11 layers", 132_863_336),
            "vgg_16": Network("VGG of 16 layers", 138_357_544),
            "vgg_19": Network("VGG of 19 layers", 143_667_240),
            "vgg_a_bn": Network("VGG of 11 layers with batch normalization", 132_871_592),
            "vgg_16_bn": Network("VGG of 16 layers with batch normalization", 138_370_216),
            "vgg_19_bn": Network("VGG of 19 layers with batch normalization", 143_683_752),
        },
        module="classic",
        labels_offset=1,
        logits="fc8",
        augmentation=VGG_SCHEME,
    ),
    Family(
        networks={"inception_v1": Network("Inception v1, GoogLeNet, with batch normalization", 6_632_184)},
        module="inception_v1",
    ),
    Family(
        networks={"inception_v2": Network("Inception v2", 11_198_112)},
        module="inception_v2",
    ),
    Family(
        networks={"inception_v3": Network("Inception v3", 23_851_784)},
        module="inception_v3",
        image_size=299,
    ),
    Family(
        networks={"inception_v4": Network("Inception v4", 42_711_400)},
        module="inception_v4",
        image_size=299,
    ),
    Family(
        networks={"inception_resnet_v2": Network("Inception-ResNet v2", 55_873_736)},
        module="inception_resnet_v2",
        image_size=299,
    ),
    Family(
        networks={
            "mobilenet_v1": Network("MobileNet v1", 4_253_864),
            "mobilenet_v1_075": Network("MobileNet v1 with 0.75 of the filters", 2_601_976),
            "mobilenet_v1_050": Network("MobileNet v1 with 0.50 of the filters", 1_342_536),
            "mobilenet_v1_025": Network("MobileNet v1 with 0.25 of the filters", 475_544),
            "mobilenet_v2": Network("MobileNet v2", 3_538_984),
            "mobilenet_v2_140": Network("MobileNet v2 with 1.40 of the filters", 6_156_712),
            "mobilenet_v2_035": Network("MobileNet v2 with 0.35 of the filters, but all in the last layer", 1_691_208),
        },
        module="mobilenet",
    ),
    Family(
        networks={"nasnet_cifar": Network("NASNet-A of 18 cells for small images", 4_145_096)},
        module="nasnet",
        image_size=32,
        logits="/FC/",
        augmentation=CIFAR_SCHEME,
    ),
    Family(
        networks={
            "nasnet_mobile": Network("NASNet-A of 12 cells", 5_326_716),
            "pnasnet_mobile": Network("PNASNet-5 of 9 cells", 5_098_151),
        },
        module="nasnet",
        logits="/FC/",
    ),
    Family(
        networks={
            "nasnet_large": Network("NASNet-A of 18 wide cells", 88_949_818),
            "pnasnet_large": Network("PNASNet-5 of 12 wide cells", 86_234_656),
        },
        module="nasnet",
        image_size=331,
        logits="/FC/",
    ),
    Family(
        networks={
            "resnext_b_50": Network("ResNeXt of 50 layers, 32x4d, one path after the other", 25_097_128),
            "resnext_b_101": Network("ResNeXt of 101 layers, 32x4d, one path after the other", 44_315_560),
            "resnext_c_50": Network("ResNeXt of 50 layers, 32x4d, by grouped convolutions", 25_097_128),
            "resnext_c_101": Network("ResNeXt of 101 layers, 32x4d, by grouped convolutions", 44_315_560),
        },
        module="resnext",
        labels_offset=1,
        logits="logits",
        augmentation=VGG_SCHEME,
    ),
    Family(
        networks={
            "xception_41": Network("Xception of 41 layers, DeepLab's", 27_084_872),
            "xception_65": Network("Xception of 65 layers, DeepLab's", 40_101_512),
            "xception_71": Network("Xception of 71 layers, DeepLab's", 42_537_712),
        },
        module="xception",
        image_size=299,
        logits="logits",
    ),
)
