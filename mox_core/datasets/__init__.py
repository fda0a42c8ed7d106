"""What plugins with data sets share: checks of arguments, labels.txt, local copies. No module loads TensorFlow."""
