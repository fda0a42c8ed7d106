"""The optimizers of TensorFlow 1 by name, for mox.

Nothing is imported here: `plugin.py` names what this distribution offers, and mox imports it when it is first used.
"""
