"""The variables of a run, by name."""
