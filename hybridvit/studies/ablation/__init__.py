"""Ablations: what each ingredient of a recipe is worth."""
