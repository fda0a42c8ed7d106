"""What a terminal shows of work that takes long."""
