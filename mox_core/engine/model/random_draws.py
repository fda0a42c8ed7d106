"""Random numbers that `model_fn` draws from the state of a kernel: a resumed run does not find them again.

What `model_fn` draws by itself has a seed that depends on the step (`randomness`). A function that may be called twice,
and the body of a loop, would draw the same numbers each time from one seed: there TensorFlow's ordinary operations
stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import tensorflow as tf

from mox_core.engine.tensors import CANDIDATE_SAMPLERS, RANDOM_OPS, ancestors, functions_called
from mox_core.engine.tf_internals import func_graph
from mox_core.user_code import user_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_OTHERS: Final = "a run that is resumed, or made again from the same seed, draws others there"
_IN_FUNCTIONS: Final = (
    f"model_fn draws random numbers in a tf.function or a loop (%s): {_OTHERS}. Draw a seed before it, seed = "
    "tf.random.uniform([2], maxval=2**31 - 1, dtype=tf.int32), and with it by tf.random.stateless_normal(shape, seed) "
    "and its like; in a loop, with tf.random.fold_in(seed, number_of_the_round)."
)
_CANDIDATES: Final = (
    f"model_fn draws candidate classes (%s): {_OTHERS}. Draw them by tf.random.uniform in model_fn itself, which mox "
    "seeds, and pass them as sampled_values."
)
_RAW: Final = (
    f"model_fn draws random numbers by an operation that mox does not seed (%s): {_OTHERS}. Draw by tf.random.uniform, "
    "tf.random.normal and their like."
)


def warn_of_unseeded(graph: Any) -> None:
    """Warn of the random numbers of a graph that depend on more than the seed of the run and the step.

    Args:
        graph: the graph of a training, traced to its end.
    """
    own = ancestors([*func_graph.outputs(graph), *graph.control_outputs])
    library = {name: function.node_def for name, function in func_graph.function_defs(graph).items()}
    called = functions_called([op.node_def for op in own if op.type != "Const"], library)
    graphs = func_graph.graphs_of_functions(graph)
    inside = [op for name in called if name in graphs for op in graphs[name].get_operations()]
    unknown = [node.op for name in called if name not in graphs for node in library[name]]

    def places(operations: Sequence[tf.Operation], kinds: frozenset[str]) -> list[str]:
        return list(dict.fromkeys(user_line(op.traceback) for op in operations if op.type in kinds))

    numbers = RANDOM_OPS - CANDIDATE_SAMPLERS
    in_functions = places(inside, numbers) or (["model_fn"] if numbers.intersection(unknown) else [])
    candidates = places([*own, *inside], CANDIDATE_SAMPLERS)
    for message, lines in (_IN_FUNCTIONS, in_functions), (_RAW, places(own, numbers)), (_CANDIDATES, candidates):
        if lines:
            tf.get_logger().warning(message, ", ".join(lines))
