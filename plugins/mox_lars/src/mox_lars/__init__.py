"""Layer-wise adaptive rate scaling (LARS) for mox, around any optimizer."""
