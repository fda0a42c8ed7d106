"""The families of networks as data: their names, metadata and augmentation. A new family is one more entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from mox_core.plugins import NetworkMeta

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


@frozen(kw_only=True)
class Family:
    """Networks that lie in one module, and share metadata and augmentation.

    Attributes:
        names: the names of the networks, each with one line for listings.
        module: where the networks lie, each under its name.
        meta: what `mox.get_model_meta` returns.
        augmentation: the augmentation, which is offered under the name of each network.
    """

    names: Mapping[str, str]
    module: str
    meta: NetworkMeta
    augmentation: Augmentation


VGG_SCHEME = Augmentation("mox_core.networks.augmentation:vgg", "VGG scheme: random scale, random crop, flip")
INCEPTION_SCHEME = Augmentation(
    "mox_core.networks.inception_augmentation:inception", "Inception scheme: random region, flip, colours"
)
CIFAR_SCHEME = Augmentation("mox_core.networks.augmentation:cifar", "CIFAR scheme: shift by up to 4, flip")

# ImageNet's labels count a background class as 0: what was converted from other programs has no logit for it, what was
# trained with slim has one.
FAMILIES: tuple[Family, ...] = (
    Family(
        names={"lenet": "LeNet variant of 4 layers for digits"},
        module="mox_slim_nets.small",
        meta=NetworkMeta(default_image_size=28, default_labels_offset=0, default_logits_pattern="fc4"),
        augmentation=Augmentation("mox_slim_nets.augmentation:lenet", "crop or pad to the centre, nothing random"),
    ),
    Family(
        names={"cifarnet": "network of 5 layers for small images"},
        module="mox_slim_nets.small",
        meta=NetworkMeta(default_image_size=32, default_labels_offset=0, default_logits_pattern="logits"),
        augmentation=Augmentation(
            "mox_slim_nets.augmentation:cifarnet", "CIFAR scheme: shift by up to 4, flip, brightness, contrast"
        ),
    ),
    Family(
        names={"alexnet_v2": "AlexNet, version 2, of 8 layers"},
        module="mox_slim_nets.classic",
        meta=NetworkMeta(default_image_size=224, default_labels_offset=1, default_logits_pattern="fc8"),
        augmentation=VGG_SCHEME,
    ),
    Family(
        names={"overfeat": "OverFeat of 8 layers, the fast model"},
        module="mox_slim_nets.classic",
        meta=NetworkMeta(default_image_size=231, default_labels_offset=1, default_logits_pattern="fc8"),
        augmentation=VGG_SCHEME,
    ),
    Family(
        names={
            "vgg_a": "VGG of 11 layers",
            "vgg_16": "VGG of 16 layers",
            "vgg_19": "VGG of 19 layers",
            "vgg_a_bn": "VGG of 11 layers with batch normalization",
            "vgg_16_bn": "VGG of 16 layers with batch normalization",
            "vgg_19_bn": "VGG of 19 layers with batch normalization",
        },
        module="mox_slim_nets.classic",
        meta=NetworkMeta(default_image_size=224, default_labels_offset=1, default_logits_pattern="fc8"),
        augmentation=VGG_SCHEME,
    ),
    Family(
        names={"inception_v1": "Inception v1, GoogLeNet, with batch normalization"},
        module="mox_slim_nets.inception_v1",
        meta=NetworkMeta(default_image_size=224, default_labels_offset=0, default_logits_pattern="Logits"),
        augmentation=INCEPTION_SCHEME,
    ),
    Family(
        names={"inception_v2": "Inception v2"},
        module="mox_slim_nets.inception_v2",
        meta=NetworkMeta(default_image_size=224, default_labels_offset=0, default_logits_pattern="Logits"),
        augmentation=INCEPTION_SCHEME,
    ),
    Family(
        names={"inception_v3": "Inception v3"},
        module="mox_slim_nets.inception_v3",
        meta=NetworkMeta(default_image_size=299, default_labels_offset=0, default_logits_pattern="Logits"),
        augmentation=INCEPTION_SCHEME,
    ),
    Family(
        names={"inception_v4": "Inception v4"},
        module="mox_slim_nets.inception_v4",
        meta=NetworkMeta(default_image_size=299, default_labels_offset=0, default_logits_pattern="Logits"),
        augmentation=INCEPTION_SCHEME,
    ),
    Family(
        names={"inception_resnet_v2": "Inception-ResNet v2"},
        module="mox_slim_nets.inception_resnet_v2",
        meta=NetworkMeta(default_image_size=299, default_labels_offset=0, default_logits_pattern="Logits"),
        augmentation=INCEPTION_SCHEME,
    ),
    Family(
        names={
            "mobilenet_v1": "MobileNet v1",
            "mobilenet_v1_075": "MobileNet v1 with 0.75 of the filters",
            "mobilenet_v1_050": "MobileNet v1 with 0.50 of the filters",
            "mobilenet_v1_025": "MobileNet v1 with 0.25 of the filters",
            "mobilenet_v2": "MobileNet v2",
            "mobilenet_v2_140": "MobileNet v2 with 1.40 of the filters",
            "mobilenet_v2_035": "MobileNet v2 with 0.35 of the filters, but all in the last layer",
        },
        module="mox_slim_nets.mobilenet",
        meta=NetworkMeta(default_image_size=224, default_labels_offset=0, default_logits_pattern="Logits"),
        augmentation=INCEPTION_SCHEME,
    ),
    Family(
        names={"nasnet_cifar": "NASNet-A of 18 cells for small images"},
        module="mox_slim_nets.nasnet",
        meta=NetworkMeta(default_image_size=32, default_labels_offset=0, default_logits_pattern="/FC/"),
        augmentation=CIFAR_SCHEME,
    ),
    Family(
        names={"nasnet_mobile": "NASNet-A of 12 cells", "pnasnet_mobile": "PNASNet-5 of 9 cells"},
        module="mox_slim_nets.nasnet",
        meta=NetworkMeta(default_image_size=224, default_labels_offset=0, default_logits_pattern="/FC/"),
        augmentation=INCEPTION_SCHEME,
    ),
    Family(
        names={"nasnet_large": "NASNet-A of 18 wide cells", "pnasnet_large": "PNASNet-5 of 12 wide cells"},
        module="mox_slim_nets.nasnet",
        meta=NetworkMeta(default_image_size=331, default_labels_offset=0, default_logits_pattern="/FC/"),
        augmentation=INCEPTION_SCHEME,
    ),
    Family(
        names={
            "resnext_b_50": "ResNeXt of 50 layers, 32x4d, one path after the other",
            "resnext_b_101": "ResNeXt of 101 layers, 32x4d, one path after the other",
            "resnext_c_50": "ResNeXt of 50 layers, 32x4d, by grouped convolutions",
            "resnext_c_101": "ResNeXt of 101 layers, 32x4d, by grouped convolutions",
        },
        module="mox_slim_nets.resnext",
        meta=NetworkMeta(default_image_size=224, default_labels_offset=1, default_logits_pattern="logits"),
        augmentation=VGG_SCHEME,
    ),
    Family(
        names={
            "xception_41": "Xception of 41 layers, DeepLab's",
            "xception_65": "Xception of 65 layers, DeepLab's",
            "xception_71": "Xception of 71 layers, DeepLab's",
        },
        module="mox_slim_nets.xception",
        meta=NetworkMeta(default_image_size=299, default_labels_offset=0, default_logits_pattern="logits"),
        augmentation=INCEPTION_SCHEME,
    ),
)
