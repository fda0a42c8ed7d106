"""Session hooks for mox: validation while training, early stopping, feeding placeholders."""
