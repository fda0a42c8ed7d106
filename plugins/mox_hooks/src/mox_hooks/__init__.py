"""Session hooks for mox: validation metrics while training, feeding placeholders."""
