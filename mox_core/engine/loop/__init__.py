"""The loop of steps, what is done between them, and why it stops."""
