"""Shared code of the data set plugins: checks of arguments, folders and labels.txt. It does not import TensorFlow."""
