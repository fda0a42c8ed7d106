"""From `model_fn` to a graph, and what runs its steps."""
