"""The figures of a study of learning curves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hybridvit import plots
from hybridvit.studies.conduct import Outcome
from hybridvit.studies.learning_curve.equivalence import Factor
from hybridvit.studies.learning_curve.study import Study
from hybridvit.studies.learning_curve.table import Table

Drawings = dict[str, Callable[[plots.Theme], Figure]]
Gates = tuple[str, list[int], NDArray[np.float64]]  # model, steps [t], and σ(λ) [t, layers, heads]


def drawings(study: Study, table: Table, outcome: Outcome) -> Drawings:
    """File name -> a function that draws the figure."""
    accuracy = {
        model: np.array([table.interval(model, index) for index in range(len(table.sizes))]) for model in study.models
    }
    figures: Drawings = {
        "learning_curves": partial(plots.learning_curves, table.sizes, accuracy, runs=table.accuracy),
    }
    if table.equivalence:
        factors = {model: _drawn(one.factor) for model, one in table.equivalence.items()}
        figures["equivalence"] = partial(plots.equivalence_bars, factors, list(study.models), study.reference)
    for name, scores in rate_scores(study, outcome).items():
        figures[f"learning_rates_{name}"] = partial(plots.learning_rate_curves, scores, name)
    for model, steps, gates in gates_of(study, outcome):
        figures[f"gates_{model}"] = partial(plots.gate_curves, steps, gates)
    return figures


def rate_scores(study: Study, outcome: Outcome) -> dict[str, dict[int, dict[float, float]]]:
    """Model -> training size -> learning rate -> mean validation accuracy; empty where nothing is chosen."""
    if len(study.learning_rates) == 1:
        return {}
    scores: dict[str, dict[int, dict[float, float]]] = {}
    for arm, by_rate in study.validation_accuracy(outcome.results).items():
        if arm.model in study.models:
            scores.setdefault(arm.model, {})[arm.train_size] = dict(sorted(by_rate.items()))
    return scores


def gates_of(study: Study, outcome: Outcome) -> list[Gates]:
    """Gates over training, mean over the seeds of the largest training size, of the models that have some."""
    found = []
    cells = study.cells(outcome.results)
    for model in study.models:
        histories = [
            outcome.results[cell.key]["history"]
            for cell in cells
            if cell.arm == (model, study.train_sizes[-1]) and cell.key in outcome.results
        ]
        if histories and "gates" in histories[0]:
            gates = np.mean([history["gates"] for history in histories], axis=0)
            found.append((model, [0, *histories[0]["steps"]], gates))
    return found


def final_gates(study: Study, outcome: Outcome) -> dict[str, dict[int, list[float]]]:
    """Model -> training size -> σ(λ) of each layer after training, mean over heads and seeds."""
    gates: dict[str, dict[int, list[float]]] = {}
    for model in study.models:
        for size in study.train_sizes:
            last = [
                outcome.results[cell.key]["history"]["gates"][-1]
                for cell in study.cells(outcome.results)
                if cell.arm == (model, size)
                and cell.key in outcome.results
                and "gates" in outcome.results[cell.key]["history"]
            ]
            if last:
                gates.setdefault(model, {})[size] = np.mean(last, axis=(0, 2)).tolist()
    return gates


def _drawn(factor: Factor) -> tuple[float, float, float, str]:
    """A factor and its ends, no further out than the sizes can show, and its text; NaN: it is a bound."""
    value, low, high = np.clip([factor.value, factor.low, factor.high], factor.smallest, factor.largest)
    text, _, _ = str(factor).partition(" (")
    return float(value), float(low), float(high), text
