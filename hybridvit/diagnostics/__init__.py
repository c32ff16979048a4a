"""Measures of what a model has learned: (model, images) to arrays; nothing here plots."""

from hybridvit.diagnostics.gates import gates

__all__ = ["gates"]
