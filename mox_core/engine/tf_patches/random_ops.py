"""TensorFlow's random operations, replaced by their stateless twins while a run lasts."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any

import tensorflow as tf
from tensorflow.python.ops import gen_image_ops, gen_random_ops  # type: ignore[attr-defined]  # not in the stubs

from mox_core.engine.randomness import current_scope, seeded
from mox_core.engine.tf_patches.replaced import replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stateless_random_ops() -> Iterator[None]:
    """Replace random operations by their stateless twins for the block; outside of `seeded` nothing changes."""
    twins = [(module, name, _dispatch(getattr(module, name), twin)) for module, name, twin in _TWINS]
    datasets = (tf.data.Dataset, tf.compat.v1.data.Dataset)
    with replaced(*twins, *((each, "map", _map_with_draws(each.map)) for each in datasets)):
        yield


def _dispatch(original: Callable[..., Any], twin: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        scope = current_scope()
        if scope is None or not scope.covers_current_graph():
            if scope is not None:
                scope.passed_over += 1
            return original(*args, **kwargs)
        for unused in ("seed", "seed2", "name"):
            kwargs.pop(unused, None)
        return twin(scope.next_seed(), *args, **kwargs)

    return call


def _map_with_draws(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return `Dataset.map` for functions with random operations: each call takes its seed from a number zipped in.

    The numbers differ from epoch to epoch (`repeat`), and are the same each time the input is read from its beginning.
    """

    @functools.wraps(original)
    def call(dataset: tf.data.Dataset[Any], map_func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        scope = current_scope()
        if scope is None or tf.executing_eagerly() or not scope.covers_current_graph():
            return original(dataset, map_func, *args, **kwargs)
        passed_over = scope.passed_over
        mapped = original(dataset, map_func, *args, **kwargs)
        if scope.passed_over == passed_over:
            return mapped
        key = scope.next_key()

        def with_draw(element: Any, draw: tf.Tensor) -> Any:
            with seeded(f"{key}/map", draw, graph=tf.compat.v1.get_default_graph()):
                return map_func(*element) if type(element) is tuple else map_func(element)

        draws = tf.data.Dataset.random(seed=key, rerandomize_each_iteration=True)
        return original(tf.data.Dataset.zip((dataset, draws)), with_draw, *args, **kwargs)

    return call


def _uniform(seed: tf.Tensor, shape: Any, dtype: tf.DType) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, dtype=dtype)


def _uniform_int(seed: tf.Tensor, shape: Any, minval: Any, maxval: Any) -> tf.Tensor:
    low = tf.convert_to_tensor(minval)
    return tf.random.stateless_uniform(shape, seed, low, maxval, dtype=low.dtype)


def _normal(seed: tf.Tensor, shape: Any, dtype: tf.DType) -> tf.Tensor:
    return tf.random.stateless_normal(shape, seed, dtype=dtype)


def _truncated_normal(seed: tf.Tensor, shape: Any, dtype: tf.DType) -> tf.Tensor:
    return tf.random.stateless_truncated_normal(shape, seed, dtype=dtype)


def _shuffle(seed: tf.Tensor, value: Any) -> tf.Tensor:
    return tf.random.experimental.stateless_shuffle(value, seed)  # type: ignore[attr-defined]  # not in the stubs


def _multinomial(seed: tf.Tensor, logits: Any, num_samples: Any, output_dtype: tf.DType = tf.int64) -> tf.Tensor:
    return tf.random.stateless_categorical(logits, num_samples, seed, dtype=output_dtype)


def _gamma(seed: tf.Tensor, shape: Any, alpha: Any) -> tf.Tensor:
    alpha = tf.convert_to_tensor(alpha)
    return tf.random.stateless_gamma(tf.concat([shape, tf.shape(alpha)], 0), seed, alpha, dtype=alpha.dtype)


def _poisson(seed: tf.Tensor, shape: Any, rate: Any, dtype: tf.DType = tf.int64) -> tf.Tensor:
    return tf.random.stateless_poisson(tf.concat([shape, tf.shape(rate)], 0), seed, rate, dtype=dtype)


def _bounding_box(seed: tf.Tensor, image_size: Any, bounding_boxes: Any, **options: Any) -> Any:
    return tf.raw_ops.StatelessSampleDistortedBoundingBox(
        image_size=image_size, bounding_boxes=bounding_boxes, seed=seed, **options
    )


_TWINS: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
    (gen_random_ops, "random_uniform", _uniform),
    (gen_random_ops, "random_uniform_int", _uniform_int),
    (gen_random_ops, "random_standard_normal", _normal),
    (gen_random_ops, "truncated_normal", _truncated_normal),
    (gen_random_ops, "random_shuffle", _shuffle),
    (gen_random_ops, "multinomial", _multinomial),
    (gen_random_ops, "random_gamma", _gamma),
    (gen_random_ops, "random_poisson_v2", _poisson),
    (gen_image_ops, "sample_distorted_bounding_box_v2", _bounding_box),
)
