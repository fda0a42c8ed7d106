"""Exporters for mox: SavedModel for TensorFlow Serving."""
