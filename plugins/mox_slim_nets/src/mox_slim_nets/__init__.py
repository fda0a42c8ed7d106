"""The networks of TF-slim for mox, with their preprocessing and data augmentation.

Nothing is imported here: `plugin.py` names what this distribution offers, and mox imports it on first use.
"""
