"""Runs scripts of TensorFlow 1 and MoXing as they are, on mox."""
