"""Measures of what a model has learned: (backbone, images) to named arrays with units; nothing here plots.

A measure is one file in this folder: a public function, and beside it a constant ``MEASURE`` that describes it
(:class:`~hybridvit.diagnostics.measure.Measure`). ``hybridvit diagnose`` shows every measure that applies to a model.
The function is found here under its own name.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from hybridvit.config import nearest
from hybridvit.diagnostics.measure import Measure, Reading
from hybridvit.diagnostics.record import attention_matrices

_MODULES = [import_module(f"{__name__}.{file.name}") for file in iter_modules(__path__)]
_MEASURES = sorted((module.MEASURE for module in _MODULES if hasattr(module, "MEASURE")), key=lambda m: m.name)
globals().update({measure.function.__name__: measure.function for measure in _MEASURES})

__all__ = ["Measure", "Reading", "attention_matrices", "measures"]
__all__ += [measure.function.__name__ for measure in _MEASURES]


def measures() -> tuple[Measure, ...]:
    """Every measure of this folder, sorted by name."""
    return tuple(_MEASURES)


def __getattr__(name: str) -> Any:
    raise AttributeError(f"hybridvit.diagnostics has no {name!r}: {nearest(name, __all__)}")
