"""Learning curves: test error against the number of training images, for several models."""
