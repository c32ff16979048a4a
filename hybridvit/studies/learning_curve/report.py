"""The report of a study: one self-contained page, and the same as CSV, JSON and PNG."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from hybridvit import plots
from hybridvit.config import to_dict
from hybridvit.recipe import Study
from hybridvit.studies.conduct import Outcome, StudyFolder
from hybridvit.studies.learning_curve.cells import final_cells, validation_accuracy
from hybridvit.studies.learning_curve.table import Crossover, Equivalence, Table, as_csv, run_rows, table_csv, tabulate
from hybridvit.studies.report.page import (
    augmentation_in_words,
    drawn,
    further_in_words,
    json_number,
    optimiser_in_words,
    render,
    tasks_in_words,
)
from hybridvit.studies.statistics import MIN_SEEDS_FOR_CLAIM, MIN_SEEDS_FOR_INTERVAL
from hybridvit.training.checkpoint import write_text

PARAMETER_TOLERANCE = 0.10

# Further columns of the models' table, from the runs on the most images: what a run calls it, and its factor.
MEASURES = {
    "test accuracy with mirror images, %": ("test_accuracy_tta", 100),
    "seconds compiling": ("compile_seconds", 1),
    "kJ of training": ("train_joules", 0.001),
}


def write_report(study: Study, folder: StudyFolder, outcome: Outcome, command: str) -> Path | None:
    """Writes report.html, table.csv, runs.csv, study.json and the PNGs; None while no seed is complete.

    Args:
        study: the study.
        folder: where to write.
        outcome: its results.
        command: what a reader types to get the same study.
    """
    cells = final_cells(study, outcome.learning_rates)
    first = next((outcome.results[cell.key] for cell in cells if cell.key in outcome.results), None)
    table = tabulate(study, outcome.learning_rates, outcome.results, first["test_images"]) if first else None
    if first is None or table is None:
        return None
    figures = {}
    for name, draw in _figures(study, table, outcome).items():
        figures[name] = drawn(draw, folder.path / f"{name}.png")
    write_text(folder.path / "table.csv", table_csv(table))
    write_text(folder.path / "runs.csv", as_csv(run_rows(study, outcome.learning_rates, outcome.results)))
    facts = _facts(study, table, outcome, first, command)
    write_text(folder.path / "study.json", json.dumps(facts["summary"], indent=1))
    write_text(folder.path / "report.html", render("learning_curve/report.html.jinja", figures=figures, **facts))
    return folder.path / "report.html"


def _figures(study: Study, table: Table, outcome: Outcome) -> dict[str, Callable[[plots.Theme], Figure]]:
    accuracy = {
        model: np.array([table.interval(model, index) for index in range(len(table.sizes))]) for model in study.models
    }
    figures: dict[str, Callable[[plots.Theme], Figure]] = {
        "learning_curves": partial(plots.learning_curves, table.sizes, accuracy),
    }
    if table.equivalence:
        factors = {model: (*worth.factor, worth.bounded) for model, worth in table.equivalence.items()}
        figures["equivalence"] = partial(plots.equivalence_bars, factors, list(study.models), study.reference)
    for model, steps, gates in _gates(study, outcome):
        figures[f"gates_{model}"] = partial(plots.gate_curves, steps, gates)
    return figures


def _gates(study: Study, outcome: Outcome) -> list[tuple[str, list[int], np.ndarray]]:
    """model, steps and σ(λ) ``[t, layers, heads]``, mean over the seeds of the largest training size."""
    found = []
    cells = final_cells(study, outcome.learning_rates)
    for model in study.models:
        histories = [
            outcome.results[cell.key]["history"]
            for cell in cells
            if cell.model == model and cell.train_size == study.train_sizes[-1] and cell.key in outcome.results
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


def _facts(study: Study, table: Table, outcome: Outcome, first: dict[str, Any], command: str) -> dict[str, Any]:
    reference_params = table.params[study.reference]
    off = {m: n for m, n in table.params.items() if abs(n / reference_params - 1) > PARAMETER_TOLERANCE}
    seeds, runs = len(table.seeds), run_rows(study, outcome.learning_rates, outcome.results)
    summary = {
        "title": study.title,
        "reference": study.reference,
        "train_images": [int(size) for size in table.sizes],
        "seeds": list(table.seeds),
        "accuracy": {model: values.tolist() for model, values in table.accuracy.items()},
        "params": table.params,
        "learning_rates": outcome.learning_rates,
        "equivalence": {
            model: {
                "factor": worth.factor.value,
                "interval": [json_number(worth.factor.low), json_number(worth.factor.high)],
                "bound_only": worth.bounded,
                "gain": worth.gain.value,
                "p": worth.p,
            }
            for model, worth in table.equivalence.items()
        },
        "crossovers": [
            {
                "ahead": crossing.ahead,
                "behind": crossing.behind,
                "images": crossing.images.value,
                "interval": [json_number(crossing.images.low), json_number(crossing.images.high)],
            }
            for crossing in table.crossovers
        ],
        "failed": [{"cell": str(cell), "error": error} for cell, error in outcome.failed],
        "runs": runs,
        "seconds": {"runs": sum(result["seconds"]["total"] for result in outcome.results.values())},
        "device": first["device"],
        "versions": first["versions"],
        "revision": first["revision"],
        "command": command,
    }
    gates = _gates(study, outcome)
    measures = _measures(study, runs)
    return {
        "summary": summary,
        "measures": measures,
        "study": study,
        "table": table,
        "crossings": [_crossing(table, crossing) for crossing in table.crossovers if crossing.settled],
        "unsettled": sum(not crossing.settled for crossing in table.crossovers),
        "sentences": [_sentence(study, model, worth) for model, worth in table.equivalence.items()],
        "claim": _claim(table, seeds),
        "rows": [_row(study, table, outcome, model) for model in study.models],
        "validation": validation_accuracy(study, outcome.results) if len(study.learning_rates) > 1 else {},
        "off": off,
        "gates": [(m, float(g[0].mean()), g[-1].mean(axis=1).tolist(), f"gates_{m}") for m, _, g in gates],
        "held_fixed": _held_fixed(study, first),
        "failed": outcome.failed,
        "intervals": seeds >= MIN_SEEDS_FOR_INTERVAL,
        "first": first,
    }


def _sentence(study: Study, model: str, worth: Equivalence) -> dict[str, str]:
    low, high = worth.factor.low, worth.factor.high
    if worth.bounded:
        factor = f"{'at least' if worth.factor.value > 1 else 'at most'} {_times(worth.factor.value)}"
        interval = "the two curves do not meet within the sizes studied"
    else:
        factor = _times(worth.factor.value)
        interval = f"95 % interval {_times(low)} to {_times(high)}" if isfinite(low) else ""
    return {"model": model, "factor": factor, "interval": interval, "difference": _difference(study, model)}


def _crossing(table: Table, crossing: Crossover) -> dict[str, str]:
    low, high = crossing.images.low, crossing.images.high
    first, last = f"{table.sizes[0]:,.0f}", f"{table.sizes[-1]:,.0f}"
    ends = (f"below {first}" if low == 0 else _about(low), f"beyond {last}" if high == inf else _about(high))
    return {
        "images": _about(crossing.images.value),
        "ahead": crossing.ahead,
        "behind": crossing.behind,
        "interval": "" if isnan(low) else f"{ends[0]} to {ends[1]}",
    }


def _about(images: float) -> str:
    """A number of images to two digits."""
    return f"{float(f'{images:.2g}'):,.0f}"


def _difference(study: Study, model: str) -> str:
    """In words, what sets a model apart from the reference."""
    config, reference = to_dict(study.models[model]), to_dict(study.models[study.reference])
    if config["kind"] != reference["kind"]:
        return "convolution in every layer, no attention"
    said = []
    if config["tokenizer"]["kind"] != reference["tokenizer"]["kind"]:
        said.append("a convolutional stem instead of patches")
    if config["attention"] != reference["attention"]:
        said.append(
            "gated positional self-attention that starts as a convolution"
            if "gpsa" in config["attention"]
            else "other attention"
        )
    rest = [n for n in config if config[n] != reference[n] and n not in ("tokenizer", "attention")]
    if rest:
        said.append("and " + ", ".join(f"{name} {config[name]} instead of {reference[name]}" for name in rest))
    return ", ".join(said)


def _claim(table: Table, seeds: int) -> str:
    if seeds < MIN_SEEDS_FOR_CLAIM:
        return (
            f"{seeds} {'seed' if seeds == 1 else 'seeds'}: too few to claim significance "
            f"({MIN_SEEDS_FOR_CLAIM} or more are needed), so none is claimed"
            + (
                "."
                if seeds >= MIN_SEEDS_FOR_INTERVAL
                else f", and below {MIN_SEEDS_FOR_INTERVAL} there is no interval either."
            )
        )
    parts = [f"{model} p = {worth.p:.3f}" for model, worth in table.equivalence.items() if worth.p is not None]
    text = (
        f"Exact two-sided sign-flip test of the accuracy gained over all sizes, paired by seed, Holm-adjusted for "
        f"{len(parts)} comparisons: {', '.join(parts)}."
    )
    if table.smallest_p > 0.05:
        text += (
            f" With {seeds} seeds no adjusted p can fall below {table.smallest_p:.3f}, so none is called significant."
        )
    return text


def _row(study: Study, table: Table, outcome: Outcome, model: str) -> dict[str, Any]:
    worth = table.equivalence.get(model)
    return {
        "model": model,
        "params": table.params[model],
        "ratio": table.params[model] / table.params[study.reference],
        "lr": outcome.learning_rates[model],
        "seconds": table.seconds[model],
        "accuracy": [table.interval(model, index) for index in range(len(table.sizes))],
        "by_size": [_by_size(table, value, index) for index, value in enumerate(worth.by_size)] if worth else None,
    }


def _by_size(table: Table, factor: float, index: int) -> str:
    if factor == float("inf"):
        return f"> {_times(table.sizes[-1] / table.sizes[index])}"
    if factor == 0:
        return f"< {_times(table.sizes[0] / table.sizes[index])}"
    return _times(factor)


def _held_fixed(study: Study, first: dict[str, Any]) -> list[tuple[str, str]]:
    base = study.base
    size = " × ".join(str(side) for side in first["image_size"])
    ema = f"; weights averaged with decay {base.train.ema}" if base.train.ema else ""
    if len(study.learning_rates) == 1:
        selection = "none: one learning rate for all models"
    else:
        tried = ", ".join(f"{lr:g}" for lr in study.learning_rates)
        seeds = "one seed" if study.selection_seeds == 1 else f"{study.selection_seeds} seeds"
        selection = (
            f"the learning rate of each model, from {tried}, on {base.data.validation:.0%} of the "
            f"{study.train_sizes[-1]:,} training images set apart ({seeds}); then trained on all of them"
        )
    return [
        (
            "Data",
            f"{first['dataset']}, {size} pixels; the same {first['test_images']:,} test images for every run, "
            "read once, after the last step",
        ),
        (
            "Budget",
            f"{base.train.steps} steps of {base.train.batch_size} images at every size (steps, not epochs){ema}",
        ),
        ("Subsets", "nested and class-stratified; a seed draws the same subset for every model"),
        ("Augmentation", augmentation_in_words(base)),
        ("Optimiser", optimiser_in_words(base)),
        *further_in_words(base),
        ("Tasks", tasks_in_words(base)),
        ("Selection", selection),
        ("Precision", base.train.precision),
    ]


def _times(factor: float) -> str:
    return f"{factor:.1f}×" if factor < 9.95 else f"{factor:.0f}×"
