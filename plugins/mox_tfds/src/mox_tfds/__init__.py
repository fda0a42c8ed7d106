"""Data sets that TensorFlow Datasets has prepared, and files of Hugging Face's `datasets`, read as mox reads."""
