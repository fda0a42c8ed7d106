"""Checkpoints: found, read, restored and written."""
