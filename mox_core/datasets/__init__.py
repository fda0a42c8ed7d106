"""What plugins with data sets share: checks of arguments, and the file labels.txt. Nothing here imports TensorFlow."""
