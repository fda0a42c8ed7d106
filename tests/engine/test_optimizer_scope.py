import tensorflow as tf

import mox_core as mox


def test_an_optimizer_is_made_in_the_name_scope_that_is_asked_for():
    def make(learning_rate):
        return learning_rate, tf.compat.v1.get_default_graph().get_name_scope()

    with tf.Graph().as_default():
        assert mox.get_optimizer_fn(make, 0.1, scope="generator")() == (0.1, "generator")
        assert mox.get_optimizer_fn(make, 0.1)() == (0.1, "")
