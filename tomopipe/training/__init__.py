"""Training: one loop for every model, checkpoints, metrics, verdicts."""
