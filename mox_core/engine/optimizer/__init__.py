"""One step of training: gradients, loss scale, optimizers and their wrappers."""
