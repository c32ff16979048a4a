"""Data: samples and batches as a function of the seed and the step."""
