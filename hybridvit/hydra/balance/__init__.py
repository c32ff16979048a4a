"""Balancing the tasks of a shared backbone: loss weighting and gradient surgery."""
