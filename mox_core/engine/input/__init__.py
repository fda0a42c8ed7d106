"""From `input_fn` to batches: the order of samples, sources, and the pipeline."""
