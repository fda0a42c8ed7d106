"""ResNet v1 and v2 for mox, with the variable names of TF-slim's checkpoints."""
