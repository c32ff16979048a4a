"""Synthetic scenes of several cameras, whose every label is known."""
