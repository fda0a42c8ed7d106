"""What a run replaces in TensorFlow, and puts back when it ends."""
