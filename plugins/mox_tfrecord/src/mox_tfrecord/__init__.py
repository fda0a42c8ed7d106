"""Records of TensorFlow (TFRecord) for mox: reading, counting, writing, inspecting."""
