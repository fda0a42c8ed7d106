"""What mox reads of TensorFlow's and Keras's private names: nothing else in the engine does."""
