"""Weights that other programs have written: read from files of several formats, fitted to the variables of a model."""
