"""The weights that `keras.applications` publishes, by the word `imagenet`: Keras has them in its cache, or fetches."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import evolve

from mox_core.catalog import networks_of_same_name
from mox_core.engine.weights.matching import fit
from mox_core.engine.weights.stored import StoredArray, StoredLayer, StoredWeights
from mox_core.errors import CheckpointError
from mox_core.name_lists import listed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mox_core.engine.weights.matching import Wanted

IMAGENET: Final = "imagenet"
_CLASSES: Final = 1000
_CLASS_INDEX: Final = "imagenet_class_index.json"
_ADDRESS: Final = re.compile(r"https?://\S+?(?=:? |$)")
"""An address in an error of Keras."""


def read_published(network: str, variables: Callable[[], Sequence[Wanted]]) -> StoredWeights:
    """Return the weights of a network of `keras.applications` that were trained on ImageNet.

    Args:
        network: its name for mox, as 'mobilenet_v2' or 'plugin/mobilenet_v2'.
        variables: returns its variables. Nobody is sent for weights that do not fit them.

    Raises:
        CheckpointError: if Keras has no such network, or no weights of it.
    """
    build = _find(network)
    try:
        model = build(weights=IMAGENET)
    except Exception as error:
        wanted = variables()
        fitting = len(fit(_stored(build, build(weights=None)), wanted).values)
        if 2 * fitting < len(wanted):
            raise CheckpointError(_of_another(network, build.__name__, fitting, len(wanted))) from error
        raise CheckpointError(_not_there(network, str(error))) from error
    return evolve(_stored(build, model), labels=_labels())


def _stored(build: Callable[..., Any], model: Any) -> StoredWeights:
    """Return the weights of a model of Keras."""
    layers: dict[tuple[str, ...], list[StoredArray]] = {}
    for variable in model.weights:
        *chain, own = variable.path.split("/")
        layers.setdefault(tuple(chain), []).append(StoredArray(variable.path, own, variable.numpy()))
    stored = [StoredLayer(chain, tuple(arrays)) for chain, arrays in layers.items()]
    kind = f"the weights of keras.applications.{build.__name__}"
    return StoredWeights(IMAGENET, kind, stored, ordered=True, counted=True)


def _find(network: str) -> Callable[..., Any]:
    """Return the function of Keras that builds a network."""
    from keras import applications  # noqa: PLC0415  (as Keras is elsewhere)

    known = {_plain(name): name for name in dir(applications) if callable(getattr(applications, name))}
    wanted = _plain(network.rpartition("/")[2])
    wanted = wanted if wanted in known else wanted.removesuffix("v1")  # 'mobilenet_v1' is MobileNet there
    if wanted not in known:
        raise CheckpointError(
            f"{IMAGENET!r} stands for what keras.applications publishes, and keras.applications publishes no weights "
            f"of a network {network!r}. Pass the path of a file of weights instead."
        )
    found: Callable[..., Any] = getattr(applications, known[wanted])
    return found


def _plain(name: str) -> str:
    return "".join(character for character in name if character.isalnum()).lower()


def _of_another(network: str, in_keras: str, fitting: int, number: int) -> str:
    others = networks_of_same_name(network)
    way_out = f"It is {listed(others, 'or')} here." if others else "Pass the path of a file of weights instead."
    return (
        f"{IMAGENET!r} stands for what keras.applications publishes, and its {in_keras} is another network than "
        f"{network!r}: it has {fitting} of the {number} variables. {way_out}"
    )


def _not_there(network: str, error: str) -> str:
    address = _ADDRESS.search(error)
    if address is None:
        return f"Keras could not load its weights of {network!r}: {error}"
    name = address[0].rpartition("/")[2]
    return (
        f"the weights of {network!r} are not on this machine, and Keras could not fetch them: fetch {address[0]} "
        f"elsewhere and put the file in {str(_cache() / name)!r}."
    )


def _cache() -> Path:
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"


def _labels() -> tuple[str, ...]:
    """Return the names of the classes, where Keras has them in its cache."""
    try:
        index = json.loads((_cache() / _CLASS_INDEX).read_bytes())
        return tuple(str(index[str(number)][1]) for number in range(_CLASSES))
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return ()
