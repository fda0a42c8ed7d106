"""What a run replaces in TensorFlow, and restores when it ends; see `docs/tensorflow-internals.md`."""
