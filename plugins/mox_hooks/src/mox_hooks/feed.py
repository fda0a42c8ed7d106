"""Values for the placeholders of `model_fn`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tensorflow as tf

from mox_core import AggregativeSessionRunHook

if TYPE_CHECKING:
    from collections.abc import Mapping


class FeedSessionRunHook(AggregativeSessionRunHook):
    """Feed placeholders in every step.

    A value may be a function without arguments, which is called in each step and returns the value.

    Example:
        images = tf.compat.v1.placeholder(tf.float32, [16, 784])
        ...
        return mox.ModelSpec(loss=loss, hooks=[mox.FeedSessionRunHook(feed_dict={images: next_images})])

    Attributes:
        feed_dict: placeholder to value, or to a function that returns it. A subclass may change it between steps.
    """

    def __init__(self, feed_dict: Mapping[tf.Tensor, Any]) -> None:
        super().__init__()
        self.feed_dict = feed_dict

    def before_run(self, run_context: Any) -> Any:
        """Return the values of this step as `SessionRunArgs`."""
        del run_context
        if not self.feed_dict:
            return None
        values = {placeholder: value() if callable(value) else value for placeholder, value in self.feed_dict.items()}
        return tf.compat.v1.train.SessionRunArgs(fetches=None, feed_dict=values)

    def support_aggregation(self) -> bool:
        """Return False: each replica has placeholders of its own."""
        return False

    def support_sync_workers(self) -> bool:
        """Return False: workers feed without waiting for each other."""
        return False

    def run_inter_mode(self) -> bool:
        """Return False: it evaluates nothing."""
        return False
