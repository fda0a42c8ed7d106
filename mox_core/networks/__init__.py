"""What plugins build networks of images from: the options of `mox.get_model_fn`, layers and preprocessing.

It imports TensorFlow: a plugin's entry module (`plugin.py`) names what uses it, and does not import it.
"""
