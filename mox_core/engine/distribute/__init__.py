"""Where the replicas of a model run, and the collectives between workers."""
