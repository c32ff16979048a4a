"""Runs: a recipe becomes a run, and a run folder becomes a model again."""
