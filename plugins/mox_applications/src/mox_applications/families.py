"""The networks of keras.applications as values: their names, sizes and heads, what is alike within a family.

It is light: `plugin.py` makes its offers of it, `networks.py` and `augmentation.py` what they name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_BLOCK: Final = r"(block\d+)_"


@frozen(kw_only=True)
class Family:
    """What the networks of one paper share.

    Attributes:
        title: what they are, for summaries.
        networks: for each name, that of its function in keras.applications, and the size of its images in pixels.
        smallest: the least height and width that Keras takes.
        head: part of the names of the variables that depend on the number of classes.
        preprocessing: the function of `preprocessing.py` that prepares images.
        scheme: the augmentation of the paper: 'vgg', 'inception' or 'efficientnet'.
        blocks: patterns of the names of layers; a group of each is the name of a block, whose output is an end point.
        options: options of these networks, with the defaults; None stands for the default of Keras.
        shared_names: names that mox-slim-nets has too; they are its own where it is installed.
    """

    title: str
    networks: Mapping[str, tuple[str, int]]
    smallest: int = 32
    head: str = "predictions"
    preprocessing: str
    scheme: str = "inception"
    blocks: tuple[str, ...] = ()
    options: Mapping[str, object] = {}
    shared_names: tuple[str, ...] = ()


def _by_number(prefix: str, function: str, sizes: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """Return networks that differ in what stands behind the name of the family."""
    return {f"{prefix}_{each.lower()}": (f"{function}{each}", size) for each, size in sizes.items()}


_RESNET_BLOCKS: Final = (r"(conv\d+)_", r"(conv\d+_block\d+)_")
_EFFICIENTNET_BLOCKS: Final = (r"(block\d+)[a-z]_", r"(block\d+[a-z])_")
_EFFICIENTNET_OPTIONS: Final = {"dropout_rate": None, "drop_connect_rate": None}

FAMILIES: Final = (
    Family(
        title="ConvNeXt (arXiv 2201.03545)",
        networks=_by_number("convnext", "ConvNeXt", dict.fromkeys(("Tiny", "Small", "Base", "Large", "XLarge"), 224)),
        head="head_dense",
        preprocessing="standardize",
        blocks=(r".*_(stage_\d+)_block_\d+_", r".*_(stage_\d+_block_\d+)_"),
        options={"drop_path_rate": 0.0},
    ),
    Family(
        title="DenseNet (arXiv 1608.06993)",
        networks=_by_number("densenet", "DenseNet", dict.fromkeys(("121", "169", "201"), 224)),
        preprocessing="standardize",
        scheme="vgg",
        blocks=_RESNET_BLOCKS,
    ),
    Family(
        title="EfficientNet (arXiv 1905.11946)",
        networks=_by_number(
            "efficientnet",
            "EfficientNet",
            {"B0": 224, "B1": 240, "B2": 260, "B3": 300, "B4": 380, "B5": 456, "B6": 528, "B7": 600},
        ),
        preprocessing="scale_to_one",
        scheme="efficientnet",
        blocks=_EFFICIENTNET_BLOCKS,
        options=_EFFICIENTNET_OPTIONS,
    ),
    Family(
        title="EfficientNetV2 (arXiv 2104.00298)",
        networks=_by_number("efficientnet_v2", "EfficientNetV2", {"B0": 224, "B1": 240, "B2": 260, "B3": 300}),
        preprocessing="standardize_or_center",
        scheme="efficientnet",
        blocks=_EFFICIENTNET_BLOCKS,
        options=_EFFICIENTNET_OPTIONS,
    ),
    Family(
        title="EfficientNetV2 (arXiv 2104.00298)",
        networks=_by_number("efficientnet_v2", "EfficientNetV2", {"S": 384, "M": 480, "L": 480}),
        preprocessing="center_by_128",
        scheme="efficientnet",
        blocks=_EFFICIENTNET_BLOCKS,
        options=_EFFICIENTNET_OPTIONS,
    ),
    Family(
        title="Inception-ResNet (arXiv 1602.07261)",
        networks={"inception_resnet_v2": ("InceptionResNetV2", 299)},
        smallest=75,
        preprocessing="center",
        blocks=(r"(block\d+_\d+)_",),
        shared_names=("inception_resnet_v2",),
    ),
    Family(
        title="Inception (arXiv 1512.00567)",
        networks={"inception_v3": ("InceptionV3", 299)},
        smallest=75,
        preprocessing="center",
        shared_names=("inception_v3",),
    ),
    Family(
        title="MobileNet (arXiv 1704.04861)",
        networks={"mobilenet": ("MobileNet", 224), "mobilenet_v1": ("MobileNet", 224)},
        head="conv_preds",
        preprocessing="center",
        options={"alpha": 1.0, "depth_multiplier": 1, "dropout": 0.001},
        shared_names=("mobilenet_v1",),
    ),
    Family(
        title="MobileNetV2 (arXiv 1801.04381)",
        networks={"mobilenet_v2": ("MobileNetV2", 224)},
        preprocessing="center",
        blocks=(r"(expanded_conv|block_\d+)_",),
        options={"alpha": 1.0},
        shared_names=("mobilenet_v2",),
    ),
    Family(
        title="MobileNetV3 (arXiv 1905.02244)",
        networks=_by_number("mobilenet_v3", "MobileNetV3", {"Small": 224, "Large": 224}),
        head="logits",
        preprocessing="center",
        blocks=(r"(expanded_conv(?:_\d+)?)_[a-z]",),
        options={"alpha": 1.0, "minimalistic": False, "dropout_rate": 0.2},
    ),
    Family(
        title="NASNet-A (arXiv 1707.07012)",
        networks=_by_number("nasnet", "NASNet", {"Mobile": 224, "Large": 331}),
        preprocessing="center",
        shared_names=("nasnet_mobile", "nasnet_large"),
    ),
    Family(
        title="residual network (arXiv 1512.03385)",
        networks=_by_number("resnet", "ResNet", dict.fromkeys(("50", "101", "152"), 224)),
        preprocessing="subtract_means_of_bgr",
        scheme="vgg",
        blocks=_RESNET_BLOCKS,
    ),
    Family(
        title="pre-activation residual network (arXiv 1603.05027)",
        networks={f"resnet_{layers}_v2": (f"ResNet{layers}V2", 224) for layers in (50, 101, 152)},
        preprocessing="center",
        scheme="vgg",
        blocks=_RESNET_BLOCKS,
    ),
    Family(
        title="VGG (arXiv 1409.1556)",
        networks=_by_number("vgg", "VGG", {"16": 224, "19": 224}),
        preprocessing="subtract_means_of_bgr",
        scheme="vgg",
        blocks=(_BLOCK,),
        shared_names=("vgg_16", "vgg_19"),
    ),
    Family(
        title="Xception (arXiv 1610.02357)",
        networks={"xception": ("Xception", 299)},
        smallest=71,
        preprocessing="center",
        blocks=(_BLOCK,),
    ),
)
"""The families, by their names."""


@frozen
class Application:
    """One network.

    Attributes:
        name: its name in `mox.get_model_fn`.
        family: its family.
    """

    name: str
    family: Family

    @property
    def function(self) -> str:
        """The name of its function in keras.applications."""
        return self.family.networks[self.name][0]

    @property
    def size(self) -> int:
        """Height and width of its images in pixels."""
        return self.family.networks[self.name][1]

    @property
    def yields(self) -> bool:
        """Whether its name is that of another implementation, where that is installed."""
        return self.name in self.family.shared_names


def _applications() -> Iterator[Application]:
    for family in FAMILIES:
        for name in family.networks:
            yield Application(name, family)


APPLICATIONS: Final = {each.name: each for each in _applications()}
"""All networks by name."""
