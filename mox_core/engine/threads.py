"""The threads of TensorFlow, which MoXing set by flags."""

from __future__ import annotations

import tensorflow as tf


def set_threads(inter: int, intra: int) -> None:
    """Set the numbers of threads, where they are not 0: TensorFlow takes them until it first computes."""
    threading = tf.config.threading
    for name, number, set_number in (
        ("num_inter_threads", inter, threading.set_inter_op_parallelism_threads),
        ("num_intra_threads", intra, threading.set_intra_op_parallelism_threads),
    ):
        if number:
            try:
                set_number(number)
            except RuntimeError:
                tf.get_logger().warning(
                    "flag %s=%d has no effect: TensorFlow has computed before mox.run, with threads of its own choice.",
                    name,
                    number,
                )
