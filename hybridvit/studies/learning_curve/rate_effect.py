"""How the choice of the learning rate changes what a bias is worth, on validation images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hybridvit.studies.cells import accuracy
from hybridvit.studies.learning_curve.equivalence import Factor, equivalence
from hybridvit.studies.learning_curve.learning_rates import best_rate
from hybridvit.studies.learning_curve.study import Arm, Study
from hybridvit.studies.statistics import Array
from hybridvit.studies.study import Results

CHOSEN = "best at each size"  # the row in which the reference has its best rate at every size


def rate_effects(study: Study, results: Results) -> dict[str, dict[str, Factor]]:
    """Row -> model -> data-equivalence factor on validation images; empty where nothing is chosen.

    In every row the models have the best rate of their grid at each size. The reference has it too in the first row,
    and in the others one rate of the grid at all sizes, as a study has that chooses none by size.
    """
    if len(study.learning_rates) == 1 or len(study.train_sizes) == 1:
        return {}
    chosen = {arm: best_rate(scores) for arm, scores in study.validation_accuracy(results).items() if scores}
    errors = {model: _errors(study, results, model, chosen) for model in study.models}
    rows = {CHOSEN: errors[study.reference]}
    for lr in study.learning_rates:
        rows[f"{lr:g}"] = _errors(study, results, study.reference, dict.fromkeys(chosen, lr))
    factors: dict[str, dict[str, Factor]] = {}
    for name, reference in rows.items():
        for model, of_model in errors.items():
            if model != study.reference and reference is not None and of_model is not None:
                (sizes, wrong, floor), (_, own, _) = reference, of_model
                factors.setdefault(name, {})[model] = equivalence(sizes, wrong, own, floor)
    return factors


def _errors(
    study: Study, results: Results, model: str, rates: Mapping[Arm, float]
) -> tuple[Array, Array, float] | None:
    """Training sizes ``[k]``, validation errors ``[k, seeds]`` and half a validation image; None: some are missing."""
    sizes, errors, images = [], [], 1
    for size in study.train_sizes:
        arm = Arm(model, size)
        cells = study.trials_of(arm, rates[arm])
        if any(cell.key not in results or "diverged" in results[cell.key] for cell in cells):
            return None
        ended = [results[cell.key] for cell in cells]
        sizes.append(ended[0]["train_images"])
        images = ended[0]["validation_images"]
        errors.append([1 - accuracy(c.recipe, results[c.key], "validation") for c in cells])
    return np.array(sizes, dtype=np.float64), np.array(errors), 0.5 / images
