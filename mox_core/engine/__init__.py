"""The TensorFlow half of mox: everything here may import TensorFlow at its top, nothing outside may."""
