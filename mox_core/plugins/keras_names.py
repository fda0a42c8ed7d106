"""What Keras has under the names that users look for: for errors, without importing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mox_core.plugins.offers import NetworkOffer, OptimizerOffer

if TYPE_CHECKING:
    from mox_core.plugins.offers import Offer

_OPTIMIZERS: Final = (
    *("Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lamb", "Lion", "Muon", "Nadam"),
    *("RMSprop", "SGD"),
)
_NETWORKS: Final = (
    *(f"ConvNeXt{size}" for size in ("Tiny", "Small", "Base", "Large", "XLarge")),
    *(f"DenseNet{layers}" for layers in (121, 169, 201)),
    *(f"EfficientNetB{number}" for number in range(8)),
    *(f"EfficientNetV2{size}" for size in ("B0", "B1", "B2", "B3", "S", "M", "L")),
    *("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"),
    *("NASNetLarge", "NASNetMobile", "ResNet50", "ResNet101", "ResNet152", "ResNet50V2", "ResNet101V2"),
    *("ResNet152V2", "VGG16", "VGG19", "Xception"),
)


def in_keras(kind: type[Offer], name: str) -> str:
    """Return the sentence that says how to use what Keras has under a name; '' where it has nothing."""
    if kind is OptimizerOffer and (found := _named(name, _OPTIMIZERS)):
        return f"Keras has it: optimizer_fn=lambda: keras.optimizers.{found}(learning_rate=...)"
    if kind is NetworkOffer and (found := _named(name, _NETWORKS)):
        return (
            f"Keras has it, for model_fn: net = keras.applications.{found}(weights=None, classes=num_classes, "
            "classifier_activation=None); logits = net(images), images as its preprocess_input makes them"
        )
    return ""


def _named(name: str, known: tuple[str, ...]) -> str:
    plain = "".join(filter(str.isalnum, name)).casefold()
    return next((each for each in known if each.casefold() == plain), "")
