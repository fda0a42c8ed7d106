"""Exporters for mox: SavedModel for TensorFlow Serving, frozen graph, LiteRT, ONNX."""
