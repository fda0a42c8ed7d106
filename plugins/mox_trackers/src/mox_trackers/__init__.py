"""Trackers of runs for mox: MLflow, Weights & Biases, CSV files."""
