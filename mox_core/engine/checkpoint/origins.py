"""What a run can begin with: a checkpoint, weights that another program has written, or one of these for each scope."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Protocol

import tensorflow as tf
from attrs import field, frozen

from mox_core.catalog import get_model_meta, networks_of_same_name
from mox_core.did_you_mean import did_you_mean, nearest
from mox_core.engine.tf_internals import keras_owners
from mox_core.engine.variables.names import CLASSES, GLOBAL_STEP, SEED, TRAINED, TRAINING_STATE
from mox_core.engine.weights.matching import Wanted, fit
from mox_core.engine.weights.published import IMAGENET, read_published
from mox_core.engine.weights.tensorflow_files import of_names
from mox_core.errors import CheckpointError
from mox_core.name_lists import counted, listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np

    from mox_core.engine.weights.stored import StoredWeights


@frozen
class FittedModel:
    """The model whose variables are to get values.

    Attributes:
        weights: its variables by name, without those of optimizers.
        networks: the names of the networks that it got by `mox.get_model_fn`, each with the scope of its variables.
    """

    weights: Mapping[str, tf.Variable]
    networks: Sequence[tuple[str, str]] = ()

    def inside(self, scope: str, others: Iterable[str]) -> FittedModel:
        """Return what of it is in a scope, as if it were alone, and in none of some others."""
        inner = tuple(each for each in others if each != scope and each.startswith(scope))
        weights = {
            name.removeprefix(scope): variable
            for name, variable in self.weights.items()
            if name.startswith(scope) and not name.startswith(inner)
        }
        networks = [(around.removeprefix(scope), name) for around, name in self.networks if around.startswith(scope)]
        return FittedModel(weights, networks)

    def is_logits(self, name: str) -> bool:
        """Whether a variable is of the logits of one of the networks."""
        return any(
            name.startswith(scope) and re.search(get_model_meta(network).default_logits_pattern, name[len(scope) :])
            for scope, network in self.networks
        )

    def said_of_others(self) -> str:
        """Return the sentence that names networks of the same names as those of the model; '' if there are none."""
        others = {name: networks_of_same_name(name) for _, name in sorted(set(self.networks))}
        return " ".join(
            f"Another network is called {name.rpartition('/')[2]!r} too, and it may be of that one: "
            f"mox.get_model_fn({listed(each, 'or')}, ...)."
            for name, each in others.items()
            if each
        )


class Origin(Protocol):
    """What a run can begin with."""

    @property
    def prefix(self) -> str:
        """What messages call it."""

    def fitted(self, model: FittedModel) -> Checkpoint:
        """Return its values by the names of the variables of a model.

        Raises:
            CheckpointError: if nothing of it fits, or it fits in two ways.
        """


@frozen
class Checkpoint:
    """A checkpoint that has been read and found whole.

    Attributes:
        prefix: its path without the suffixes of its files.
        values: every tensor by name.
    """

    prefix: str
    values: dict[str, np.ndarray[Any, Any]] = field(repr=False)

    @property
    def step(self) -> int:
        """The global step at which it was written, 0 where it has none."""
        return int(self.values.get(GLOBAL_STEP, 0))

    def for_training(self) -> Checkpoint:
        """Return it with the weights that were trained under their names, where those that are used are others."""
        trained = {name.removeprefix(TRAINED): value for name, value in self.values.items() if name.startswith(TRAINED)}
        return Checkpoint(self.prefix, self.values | trained)

    @property
    def seed(self) -> int | None:
        """The seed of the run that wrote it; None where mox did not write it."""
        seed = self.values.get(SEED)
        return None if seed is None else int(seed)

    @property
    def classes(self) -> str:
        """What it remembers of the classes that its labels stand for, see `class_lists`; '' for nothing."""
        found: Any = self.values.get(CLASSES, b"")
        return bytes(found).decode()

    def fitted(self, model: FittedModel) -> Checkpoint:
        """Return it: its values have the names of variables."""
        del model
        return self


@frozen
class OtherWeights:
    """Weights that another program has written."""

    weights: StoredWeights

    @property
    def prefix(self) -> str:
        """Where they are."""
        return self.weights.path

    def fitted(self, model: FittedModel) -> Checkpoint:
        """Return the arrays that fit under the names of variables, the others under their own."""
        found = fit(self.weights, wanted_of(model.weights))
        tf.get_logger().info(
            "%r (%s): %d of its %d arrays belong to the model's %d variables, by the names of layers%s%s.",
            *(self.prefix, self.weights.kind, len(found.values), len(found.values) + len(found.unused)),
            *(len(model.weights), f" under {found.scope!r}" if found.scope else ""),
            "; the numbers at the ends of names are others, and paired in their order" if found.renumbered else "",
        )
        return Checkpoint(self.prefix, found.unused | found.values)


@frozen
class PublishedWeights:
    """Those that `keras.applications` publishes of the network that the model is."""

    prefix: str = IMAGENET

    def fitted(self, model: FittedModel) -> Checkpoint:
        """Read and fit them."""
        networks = sorted(set(model.networks))
        if len(networks) != 1:
            had = listed([f"{scope}/{name}" if scope else name for scope, name in networks], "and") or "none"
            raise CheckpointError(
                f"checkpoint_path is {IMAGENET!r}, which goes by the name of the network, and model_fn gets {had} by "
                "mox.get_model_fn. Get one, or say where they belong: mox.get_model_fn(..., name_scope='teacher') and "
                f"checkpoint_path={{'teacher/': {IMAGENET!r}}}."
            )
        scope, name = networks[0]
        return OtherWeights(read_published(name, lambda: wanted_of(model.inside(scope, ()).weights))).fitted(model)


@frozen
class ScopedOrigins:
    """What a run begins with in each scope of its variables: the weights alone, as each is of a training of its own.

    Attributes:
        parts: what it begins with, by scopes such as 'teacher/'.
    """

    parts: Mapping[str, Origin]

    @property
    def prefix(self) -> str:
        """All of them."""
        return ", ".join(f"{each.prefix} for {scope!r}" for scope, each in self.parts.items())

    def fitted(self, model: FittedModel) -> Checkpoint:
        """Return the values of all parts, under names with their scopes."""
        values: dict[str, np.ndarray[Any, Any]] = {}
        for scope, part in self.parts.items():
            inside = model.inside(scope, self.parts)
            if not inside.weights:
                tops = sorted({f"{name.partition('/')[0]}/" for name in model.weights if "/" in name})
                question = did_you_mean(nearest(scope, tops)) or f"They begin so: {counted(tops) or 'none'}."
                raise CheckpointError(
                    f"checkpoint_path has {scope!r}, and no variable of the model has a name that begins so. {question}"
                )
            found = _alone(part, scope, inside) if isinstance(part, Checkpoint) else part.fitted(inside)
            if not found.values.keys() & inside.weights.keys():
                raise CheckpointError(
                    f"{part.prefix!r} has none of the model's variables under {scope!r}. It has: "
                    f"{counted(sorted(found.values), 5)}; the model has: {counted(sorted(inside.weights), 5)}."
                )
            values |= {f"{scope}{name}": value for name, value in found.values.items()}
        return Checkpoint(self.prefix, values)


def wanted_of(weights: Mapping[str, tf.Variable]) -> list[Wanted]:
    """Return variables with their places in their layers: as Keras keeps them, or else as they were made."""
    known = keras_owners.places()
    layers: dict[str, list[tuple[str, tf.Variable]]] = defaultdict(list)
    for name, variable in weights.items():
        layers[name.rpartition("/")[0]].append((name, variable))
    found: list[Wanted] = []
    for each in layers.values():
        of_keras = all(id(variable) in known for _, variable in each)
        for number, (name, variable) in enumerate(each):
            place = (known[id(variable)],) if of_keras else (not variable.trainable, number)
            found.append(Wanted(name, place))
    return found


def _alone(checkpoint: Checkpoint, scope: str, model: FittedModel) -> Checkpoint:
    """Return the weights of a checkpoint for a part of a model: it was alone there, or in the same scope."""
    values = {
        name: value
        for name, value in checkpoint.values.items()
        if name != GLOBAL_STEP and not name.startswith(TRAINING_STATE)
    }
    same_scope = {name.removeprefix(scope): value for name, value in values.items() if name.startswith(scope)}
    if len(same_scope.keys() & model.weights.keys()) > len(values.keys() & model.weights.keys()):
        values = same_scope
    if not model.weights.keys() <= values.keys():
        found = fit(of_names(checkpoint.prefix, values), wanted_of(model.weights))
        values = found.unused | found.values
    return Checkpoint(checkpoint.prefix, values)
