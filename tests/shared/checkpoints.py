"""What checkpoints hold, as any other program would read them."""

import tensorflow as tf


def values_of(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
