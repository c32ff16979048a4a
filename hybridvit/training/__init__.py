"""Training: one visible loop, optimisers, weight averaging, checkpoints and evaluation."""
