"""Augmentation, drawn for each sample alone and vectorised over the batch."""
