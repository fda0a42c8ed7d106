"""The parameters of a training that a search chooses."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import attrs
from attrs import define

if TYPE_CHECKING:
    from collections.abc import Iterator


class ModelSize(enum.Enum):
    """How large a model is, which says how many learning rates are worth a training."""

    SMALL = "small"
    LARGE = "large"


@define
class ParamSpec:
    """Values of parameters, which `optimizer_fn` and `model_fn` read from `kwargs["param_spec"]`.

    For `param_list_spec` of `mox.auto.search`, each is a list of values to try, or None.

    Attributes:
        weight_decay: the weight of regularization losses.
        momentum: of the optimizer.
        learning_rate: of the optimizer.
        nms_score_threshold: of detectors: the lowest score before boxes suppress each other.
        nms_iou_threshold: of detectors: the overlap from which they do.
        score_threshold: of detectors: the lowest score of a box that is kept.
        iou_threshold: of detectors: the overlap from which a box is the same as another one.
    """

    weight_decay: Any = None
    momentum: Any = None
    learning_rate: Any = None
    nms_score_threshold: Any = None
    nms_iou_threshold: Any = None
    score_threshold: Any = None
    iou_threshold: Any = None


def given(spec: ParamSpec) -> Iterator[tuple[str, Any]]:
    """Yield the parameters that have a value, with their names."""
    for attribute in attrs.fields(ParamSpec):
        if (value := getattr(spec, attribute.name)) is not None:
            yield attribute.name, value


def described(spec: ParamSpec) -> str:
    """Return the parameters as text, like `momentum=0.9, learning_rate=0.1`."""
    return ", ".join(f"{name}={value:g}" for name, value in given(spec))
