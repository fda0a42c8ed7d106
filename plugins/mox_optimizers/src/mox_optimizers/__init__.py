"""The optimizers of TensorFlow 1 by name, for mox: sgd, momentum, adam, adagrad, adadelta, rmsprop, ftrl."""
