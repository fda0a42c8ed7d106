"""What a file of weights holds, whatever its format: arrays of layers, with names as far as the file has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np


@frozen
class StoredArray:
    """One array.

    Attributes:
        label: its name in tables and messages.
        name: its own name in its layer, 'kernel' for instance; '' where the file has numbers only.
        value: the array.
    """

    label: str
    name: str
    value: np.ndarray[Any, Any] = field(repr=False)


@frozen
class StoredLayer:
    """The arrays that one layer has itself, in its own order: trained ones first.

    Attributes:
        chain: the names of the layers around it, the outermost first, and its own. Which of them the names of variables
            have depends on how the model is made.
        arrays: the arrays.
    """

    chain: tuple[str, ...]
    arrays: tuple[StoredArray, ...]


@frozen
class StoredWeights:
    """The weights of one file.

    Attributes:
        path: where they are.
        kind: what wrote them, in words.
        layers: the layers that have arrays.
        ordered: whether the order of the arrays of a layer tells what their names do not.
        counted: whether names of layers may end in counters of the process that wrote them, as those of Keras do.
        labels: the names of the classes, as far as the file has them.
    """

    path: str
    kind: str
    layers: Sequence[StoredLayer]
    ordered: bool
    counted: bool
    labels: tuple[str, ...] = ()

    def arrays(self) -> Iterator[StoredArray]:
        """Yield all arrays in the order of the file."""
        for layer in self.layers:
            yield from layer.arrays


def by_full_name(named: Sequence[tuple[str, np.ndarray[Any, Any]]]) -> list[StoredLayer]:
    """Return the layers of arrays that have whole names, such as 'conv1/weights'."""
    layers: dict[tuple[str, ...], list[StoredArray]] = {}
    for name, value in named:
        *chain, own = name.split("/")
        layers.setdefault(tuple(chain), []).append(StoredArray(name, own, value))
    return [StoredLayer(chain, tuple(arrays)) for chain, arrays in layers.items()]
