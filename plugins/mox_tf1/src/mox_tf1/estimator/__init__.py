"""`tf.estimator` of TensorFlow 1, which TensorFlow 2.16 has dropped, on `mox.run`."""
