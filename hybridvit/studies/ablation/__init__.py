"""Ablations: the effect of each ingredient of a recipe."""
