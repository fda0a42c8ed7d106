"""What mox-tf1 uses inside TensorFlow: a new TensorFlow tells here what it has changed."""

import tensorflow as tf


def test_layers_and_cells_of_tensorflow_1_lie_in_tf_keras():
    from mox_tf1.tf_internals import legacy_part

    for part, name in (("layers", "dense"), ("layers", "Conv2D"), ("rnn_cell", "BasicLSTMCell")):
        assert callable(getattr(legacy_part(part), name, None)), f"tf_keras moved {name}: see mox_tf1/tf_internals.py"


def test_hooks_of_tensorflow_find_the_global_step_where_it_is_put():
    from mox_tf1.tf_internals import read_global_step

    def body():
        tf.compat.v1.get_default_graph().add_to_collection(tf.compat.v1.GraphKeys.GLOBAL_STEP, step)
        read_global_step()
        read_global_step()
        hook.begin()
        return hook.before_run(None).fetches

    step = tf.Variable(7, dtype=tf.int64)  # made outside of the graph, as that of a run is
    hook = tf.compat.v1.train.StopAtStepHook(num_steps=2)
    assert tf.compat.v1.wrap_function(body, [])().numpy() == 7
