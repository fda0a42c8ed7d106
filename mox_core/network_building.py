"""A network built on images, and what its graph remembers of it: what the function of `mox.get_model_fn` does."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Final

from mox_core.errors import UsageError
from mox_core.serving.description import IMAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

NETWORKS: Final = "mox_networks"
"""The collection of a graph that holds each network got by its name: (scope of its variables, name)."""
LAYER_NAMES: Final = "mox_layer_names"
"""The collection in which a trace leaves a context where Keras counts layers without names from the beginning."""

_TAKEN: Final = "already exists, disallowed"
"""What TensorFlow says of a name that `get_variable` is asked for a second time."""
_SCOPE: Final = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)*")
_NETWORK: Final = "a function of images that returns (logits, end_points): a tensor, and a dict from names to tensors"


def check_name_scope(name_scope: object) -> None:
    """Refuse what is no scope of variables.

    Raises:
        UsageError: with the rule.
    """
    if name_scope is None or (isinstance(name_scope, str) and _SCOPE.fullmatch(name_scope)):
        return
    raise UsageError(
        f"name_scope is {name_scope!r}; it must be a name such as 'teacher', of letters, digits, '_', '.' and '-', or "
        "several with '/' between them."
    )


def build_network(
    name: str | Callable[..., Any], name_scope: str | None, build: Callable[[Any], Any], images: Any
) -> tuple[Any, dict[str, Any]]:
    """Build a network on images, under its scope; its graph remembers the name.

    Raises:
        UsageError: if another network of the graph has variables of these names.
    """
    import tensorflow as tf

    graph = getattr(images, "graph", None)
    with contextlib.ExitStack() as stack:
        if name_scope is not None:
            stack.enter_context(tf.compat.v1.variable_scope(name_scope))
            for fresh_names in graph.get_collection(LAYER_NAMES) if graph is not None else ():
                stack.enter_context(fresh_names())
        if graph is not None and isinstance(name, str):
            graph.add_to_collection(NETWORKS, (tf.compat.v1.get_variable_scope().name, name))
        try:
            return _logits_and_end_points(name, build(images))
        except ValueError as error:
            if _TAKEN not in str(error):
                raise
            raise UsageError(
                f"network {name!r} makes variables that this model has already "
                f"({str(error).partition(f' {_TAKEN}')[0]}, for one). Give each of two networks a scope: "
                "mox.get_model_fn(..., name_scope='teacher'). Two calls of one network share its variables under "
                "tf.compat.v1.variable_scope(..., reuse=tf.compat.v1.AUTO_REUSE)."
            ) from error


def _logits_and_end_points(name: object, result: Any) -> tuple[Any, dict[str, Any]]:
    """Return what a network has returned for its images; logits alone have no end points."""
    if isinstance(result, (tuple, list)) and len(result) == 2:  # noqa: PLR2004
        return result[0], result[1]
    if hasattr(result, "shape") and not isinstance(result, (tuple, list)):
        return result, {}
    raise UsageError(f"network {name!r} returned {result!r} for its images; a network is {_NETWORK}.")


def with_known_size(network: Callable[..., Any], images: Any, default: int) -> Any:
    """Build the network of an exported model for the size of its images, or for its default size if that is unknown."""
    height, width = images.shape[1:3] if images.shape.rank else (None, None)
    known = height is not None and width is not None
    if not known and (graph := getattr(images, "graph", None)) is not None:
        graph.add_to_collection(IMAGE_SIZE, (default, default))
    return network(image_height=None if known else default, image_width=None if known else default)
