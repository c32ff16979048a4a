"""The report of a study: one self-contained page, and the same as CSV, JSON and PNG."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hybridvit import plots
from hybridvit.config import to_dict
from hybridvit.studies.claims import claim
from hybridvit.studies.conduct import Outcome
from hybridvit.studies.learning_curve.equivalence import Factor
from hybridvit.studies.learning_curve.study import Study
from hybridvit.studies.learning_curve.table import Crossover, Equivalence, Table, run_rows, table_rows, tabulate
from hybridvit.studies.report.study_report import ends, held_fixed
from hybridvit.studies.statistics import MIN_SEEDS_FOR_INTERVAL
from hybridvit.studies.study import Report

PARAMETER_TOLERANCE = 0.10

# Further columns of the models' table, from the runs on the most images: what a run calls it, and its factor.
MEASURES = {
    "test accuracy with test-time augmentation, %": ("test_accuracy_tta", 100),
    "seconds compiling": ("compile_seconds", 1),
    "kJ of training": ("train_joules", 0.001),
}


def report(study: Study, outcome: Outcome) -> Report | None:
    """The learning curves and what they say; None while no seed is complete."""
    table = tabulate(study, outcome.results)
    if table is None:
        return None
    cells = study.cells(outcome.results)
    example = next(outcome.results[cell.key] for cell in cells if cell.key in outcome.results)
    reference_params = table.params[study.reference]
    runs, gates = run_rows(study, outcome.results), _gates(study, outcome)
    rates = study.chosen_rates(outcome.results)
    p_values = {model: equivalence.p for model, equivalence in table.equivalence.items()}
    return Report(
        template="learning_curve/report.html.jinja",
        figures=_figures(study, table, gates),
        tables={"table.csv": table_rows(table), "runs.csv": runs},
        summary=_summary(study, table, runs, rates),
        facts={
            "example": example,
            "measures": _measures(study, runs),
            "table": table,
            "crossings": [_crossing(crossing) for crossing in table.crossovers],
            "unresolved": [f"{ahead} and {behind}" for ahead, behind in table.unresolved],
            "sentences": [_sentence(study, model, one) for model, one in table.equivalence.items()],
            "claim": claim(p_values, len(table.seeds), "the accuracy gained over all sizes"),
            "rows": [_row(study, table, rates[model], model) for model in study.models],
            "validation": study.validation_accuracy(outcome.results) if len(study.learning_rates) > 1 else {},
            "off": {m: n for m, n in table.params.items() if abs(n / reference_params - 1) > PARAMETER_TOLERANCE},
            "gates": [(m, float(g[0].mean()), g[-1].mean(axis=1).tolist(), f"gates_{m}") for m, _, g in gates],
            "held_fixed": held_fixed(
                study.base,
                example,
                "subsets are nested and class-stratified; a seed draws the same subset for every model",
                _selection(study),
            ),
            "intervals": len(table.seeds) >= MIN_SEEDS_FOR_INTERVAL,
        },
        lines=lines(study, table),
    )


def lines(study: Study, table: Table) -> list[str]:
    """Accuracy by size, and the data-equivalence factor, for a terminal."""
    sizes = " ".join(f"{size:>7,.0f}" for size in table.sizes)
    rows = [f"{'test accuracy in %, images:':<27} {sizes}   data-equivalence factor against the {study.reference}"]
    for model, accuracy in table.accuracy.items():
        means = " ".join(f"{100 * value:7.1f}" for value in accuracy.mean(axis=1))
        one = table.equivalence.get(model)
        rows.append(f"  {model:<25} {means}   {one.factor if one is not None else ''}".rstrip())
    return rows


def _figures(
    study: Study, table: Table, gated: list[tuple[str, list[int], np.ndarray]]
) -> dict[str, Callable[[plots.Theme], Figure]]:
    accuracy = {
        model: np.array([table.interval(model, index) for index in range(len(table.sizes))]) for model in study.models
    }
    figures: dict[str, Callable[[plots.Theme], Figure]] = {
        "learning_curves": partial(plots.learning_curves, table.sizes, accuracy),
    }
    if table.equivalence:
        factors = {model: _drawn(one.factor) for model, one in table.equivalence.items()}
        figures["equivalence"] = partial(plots.equivalence_bars, factors, list(study.models), study.reference)
    for model, steps, gates in gated:
        figures[f"gates_{model}"] = partial(plots.gate_curves, steps, gates)
    return figures


def _drawn(factor: Factor) -> tuple[float, float, float, bool]:
    """A factor and its ends, no further out than the sizes can show, and whether it is drawn as a bound."""
    value, low, high = np.clip([factor.value, factor.low, factor.high], factor.smallest, factor.largest)
    beyond = factor.value in (0, np.inf)
    if beyond and not np.isnan(low):
        value = low if factor.value else high
    return float(value), float(low), float(high), beyond


def _gates(study: Study, outcome: Outcome) -> list[tuple[str, list[int], np.ndarray]]:
    """model, steps and σ(λ) ``[t, layers, heads]``, mean over the seeds of the largest training size."""
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


def _measures(study: Study, runs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Column -> model -> mean over the seeds of the largest training size; columns without a value are left out."""
    found: dict[str, dict[str, float]] = {}
    for name, (key, factor) in MEASURES.items():
        values: dict[str, list[float]] = {}
        for run in runs:
            if run["train_images"] == study.train_sizes[-1] and run.get(key):
                values.setdefault(run["model"], []).append(factor * run[key])
        if values:
            found[name] = {model: float(np.mean(v)) for model, v in values.items()}
    return found


def _summary(study: Study, table: Table, runs: list[dict[str, Any]], rates: Mapping[str, float]) -> dict[str, Any]:
    return {
        "reference": study.reference,
        "train_images": [int(size) for size in table.sizes],
        "seeds": list(table.seeds),
        "accuracy": {model: values.tolist() for model, values in table.accuracy.items()},
        "params": table.params,
        "learning_rates": dict(rates),
        "equivalence": {
            model: {
                **one.factor.as_json(),
                "by_size": [factor.as_json() for factor in one.by_size],
                "shared_errors": one.shared_errors,
                "rises": list(one.rises),
                "gain": one.gain.value,
                "p": one.p,
            }
            for model, one in table.equivalence.items()
        },
        "crossovers": [
            {
                "ahead": crossing.ahead,
                "behind": crossing.behind,
                "images": crossing.images.value,
                "interval": ends(crossing.images),
            }
            for crossing in table.crossovers
        ],
        "unresolved_crossovers": [{"ahead": ahead, "behind": behind} for ahead, behind in table.unresolved],
        "runs": runs,
    }


def _sentence(study: Study, model: str, one: Equivalence) -> dict[str, str]:
    """A card: the factor, its interval, what it rests on, and what sets the model apart."""
    factor, _, interval = str(one.factor).partition(" (")
    notes = [f"95 % interval {interval.rstrip(')')}"] if interval else []
    if one.shared_errors is None:
        notes.append("the two curves have no error in common")
    return {"model": model, "factor": factor, "interval": "; ".join(notes), "difference": _difference(study, model)}


def _crossing(crossing: Crossover) -> dict[str, str]:
    images, low, high = map(_about, crossing.images)
    return {
        "images": images,
        "ahead": crossing.ahead,
        "behind": crossing.behind,
        "interval": f"{low} to {high}",
    }


def _about(images: float) -> str:
    """A number of images to two digits."""
    return f"{float(f'{images:.2g}'):,.0f}"


def _difference(study: Study, model: str) -> str:
    """In words, what sets a model apart from the reference."""
    config, reference = to_dict(study.models[model]), to_dict(study.models[study.reference])
    if config["kind"] != reference["kind"]:
        return "convolution in every layer, no attention"
    words = []
    if config["tokenizer"]["kind"] != reference["tokenizer"]["kind"]:
        words.append("a convolutional stem instead of patches")
    if config["attention"] != reference["attention"]:
        words.append(
            "gated positional self-attention that starts as a convolution"
            if "gpsa" in config["attention"]
            else "other attention"
        )
    rest = [n for n in config if config[n] != reference[n] and n not in ("tokenizer", "attention")]
    if rest:
        words.append("and " + ", ".join(f"{name} {config[name]} instead of {reference[name]}" for name in rest))
    return ", ".join(words)


def _row(study: Study, table: Table, lr: float, model: str) -> dict[str, Any]:
    one = table.equivalence.get(model)
    return {
        "model": model,
        "params": table.params[model],
        "ratio": table.params[model] / table.params[study.reference],
        "lr": lr,
        "seconds": table.seconds[model],
        "accuracy": [table.interval(model, index) for index in range(len(table.sizes))],
        "by_size": [str(factor) for factor in one.by_size] if one else None,
    }


def _selection(study: Study) -> str:
    if len(study.learning_rates) == 1:
        return "none: one learning rate for all models"
    rates = ", ".join(f"{lr:g}" for lr in study.learning_rates)
    seeds = "one seed" if study.selection_seeds == 1 else f"{study.selection_seeds} seeds"
    return (
        f"the learning rate of each model, from {rates}, on {study.base.data.validation:.0%} of the "
        f"{study.train_sizes[-1]:,} training images set apart ({seeds}); then trained on all of them"
    )
