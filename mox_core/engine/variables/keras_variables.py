"""Variables of Keras models that were made outside of `model_fn`: a run that uses such a model adopts them.

They are trained, saved and restored like those that `model_fn` makes, under the path that Keras gives them. A plain
`tf.Variable` is not adopted: its name ('Variable', as likely as not) is no identity, and nothing tells whether it is
a weight or a setting of the script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core.engine.tf_internals import func_graph, keras_owners
from mox_core.engine.tf_internals.variables import handles_of
from mox_core.errors import UsageError
from mox_core.name_lists import counted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mox_core.engine.variables.store import VariableStore


def adopt_keras_variables(graph: Any, store: VariableStore, others: Iterable[tf.Variable], *, training: bool) -> None:
    """Adopt the variables of ready-made Keras models that a graph uses, and exclude what Keras does not train.

    Args:
        graph: `model_fn` has been traced in it.
        store: the variables of the run.
        others: variables of the run that are not in the store.
        training: whether the graph is to be trained.

    Raises:
        UsageError: if two variables have one name.
    """
    store.settle(graph)
    own = store.known() | {id(variable) for variable in others}
    watched = [variable for variable in func_graph.watched_variables(graph) if id(variable) not in own]
    captured = {id(outer) for outer, _ in func_graph.captures(graph)}
    foreign = [variable for variable in watched if handles_of(variable) & captured]
    if not foreign and not (training and store.of_keras):
        return
    if foreign and tf.distribute.in_cross_replica_context() is False and tf.distribute.has_strategy():
        raise UsageError(
            f"model_fn uses variables that were made outside of it ({foreign[0].name}, for one), and they are on one "
            "device: to train on several, make the model inside model_fn."
        )
    known = keras_owners.survey()
    scattered = sorted(known.parts[id(variable)] for variable in foreign if id(variable) in known.parts)
    if scattered:
        raise UsageError(
            f"model_fn uses a Keras model that was made under a strategy of tf.distribute ({scattered[0]}, for one): "
            "make it outside of strategy.scope(). --num_gpus=2 puts a model that is made in model_fn on two devices."
        )
    for variable in (each for each in foreign if id(each) in known.of_metrics):
        store.add_local(variable, graph)
    foreign = [variable for variable in foreign if id(variable) not in known.of_metrics]
    names = [(known.paths[id(variable)], variable) for variable in foreign if id(variable) in known.paths]
    for path, variable in sorted(names, key=lambda pair: pair[0]):
        store.adopt(variable, path, graph)
    trainable = graph.get_collection_ref(tf.compat.v1.GraphKeys.TRAINABLE_VARIABLES)
    trainable[:] = [variable for variable in trainable if id(variable) not in known.fixed]
    store.constrain(known.constraints)


def check_all_known(graph: Any, store: VariableStore, losses: Sequence[tf.Tensor]) -> None:
    """Refuse to train with variables that this run does not know: they would stay as they are without a word.

    Raises:
        UsageError: with the names of those that a loss depends on.
    """
    own = store.known()
    others = [variable for variable in func_graph.variables(graph) if variable.trainable and id(variable) not in own]
    with graph.as_default():
        gradients = tf.gradients(list(losses), others) if others else []
    names = [each.name for each, gradient in zip(others, gradients, strict=True) if gradient is not None]
    if names:
        raise UsageError(
            f"model_fn uses variables that were made outside of it and belong to no Keras 3 layer "
            f"({counted(names, 3)}): this run would neither train nor save them. Make them inside model_fn: "
            "modes and runs share them by name. What is meant to stay as it is goes through tf.stop_gradient(...)."
        )
