"""Data sets for mox that read folders of images."""
