"""Measures of what a model has learned: (model, images) to arrays; nothing here plots."""

from hybridvit.diagnostics.gates import gates
from hybridvit.diagnostics.locality import Locality, attention_distance
from hybridvit.diagnostics.record import attention_matrices

__all__ = ["Locality", "attention_distance", "attention_matrices", "gates"]
