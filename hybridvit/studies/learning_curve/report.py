"""The report of a study: one self-contained page, and the same as CSV, JSON and figures."""

from __future__ import annotations

from typing import Any

import numpy as np

from hybridvit.studies.claims import claim
from hybridvit.studies.conduct import Outcome
from hybridvit.studies.learning_curve import text
from hybridvit.studies.learning_curve.figures import drawings, final_gates, gates_of, rate_scores
from hybridvit.studies.learning_curve.rate_effect import rate_effects
from hybridvit.studies.learning_curve.rows import run_rows, table_rows, variant_rows
from hybridvit.studies.learning_curve.study import Study
from hybridvit.studies.learning_curve.table import Table, tabulate
from hybridvit.studies.report.study_report import as_json, ends, held_fixed
from hybridvit.studies.statistics import MIN_SEEDS_FOR_INTERVAL
from hybridvit.studies.study import Report

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
    results = outcome.results
    runs = run_rows(study, results)
    example = next(results[cell.key] for cell in study.cells(results) if cell.key in results)
    tables = {"table.csv": table_rows(table), "runs.csv": runs}
    if table.variants:
        tables["variants.csv"] = variant_rows(table)
    return Report(
        template="learning_curve/report.html.jinja",
        figures=drawings(study, table, outcome),
        tables=tables,
        summary=_summary(study, table, outcome, runs),
        facts={
            "example": example,
            "measures": _measures(study, runs),
            "table": table,
            "matched": text.matched_by(table),
            "steps": text.steps_in_words(study),
            "cards": [text.card(study, model, one) for model, one in table.equivalence.items()],
            "claim": claim(table.p, len(table.seeds), "the accuracy gained, mean over the training sizes"),
            "warnings": text.warnings(study, table, results),
            "crossings": [text.crossing_row(crossing) for crossing in table.crossovers],
            "unresolved": [f"{ahead} and {behind}" for ahead, behind in table.unresolved],
            "rows": [_row(study, table, model) for model in study.models],
            "variants": _variants(table),
            "variant_sizes": sorted({size for one in table.variants for size in one.by_size}),
            "doublings": [(one, text.points(one.change)) for one in table.doublings],
            "rates": text.rate_rows(study, results),
            "rate_figures": [f"learning_rates_{model}" for model in rate_scores(study, outcome)],
            "rate_effects": {
                row: {model: str(factor) for model, factor in factors.items()}
                for row, factors in rate_effects(study, results).items()
            },
            "gates": [(model, gates[-1].mean(axis=1).tolist()) for model, _, gates in gates_of(study, outcome)],
            "gates_by_size": final_gates(study, outcome),
            "held_fixed": held_fixed(
                study.base,
                example,
                "subsets are nested and class-stratified; a seed draws the same subset for every model",
                text.selection(study),
                steps=text.steps_in_words(study) if study.steps else "",
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


def _summary(study: Study, table: Table, outcome: Outcome, runs: list[dict[str, Any]]) -> dict[str, Any]:
    results = outcome.results
    return {
        "reference": study.reference,
        "train_images": [int(size) for size in table.sizes],
        "seeds": list(table.seeds),
        "accuracy": {model: values.tolist() for model, values in table.accuracy.items()},
        "params": table.params,
        "multiply_adds": table.multiply_adds,
        "seconds_per_step": table.seconds_per_step,
        "learning_rates": _by_model(study.chosen_rates(results)),
        "validation_accuracy": _by_model(study.validation_accuracy(results)) if len(study.learning_rates) > 1 else {},
        "equivalence": {
            model: {
                **one.factor.as_json(),
                "over_images": one.over_images.as_json() if one.over_images is not None else None,
                "by_size": [factor.as_json() for factor in one.by_size],
                "shared_errors": one.shared_errors,
                "gain": as_json(one.gain),
                "p": table.p[model],
            }
            for model, one in table.equivalence.items()
        },
        "rises": table.rises,
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
        "variants": {
            one.variant: {
                "against": one.against,
                "points": as_json(one.mean),
                "by_size": {size: as_json(interval) for size, interval in one.by_size.items()},
                "accuracy": {size: as_json(interval) for size, interval in one.accuracy.items()},
                "p": table.p[one.variant],
            }
            for one in table.variants
        },
        "twice_the_steps": [
            {
                "model": one.model, "train_images": one.train_size, "steps": one.steps, "seeds": one.seeds,
                "points": as_json(one.change),
            }
            for one in table.doublings
        ],
        "gates": final_gates(study, outcome),
        "runs": runs,
    }  # fmt: skip


def _by_model(values: dict[Any, Any]) -> dict[str, dict[int, Any]]:
    """Model -> training size -> value."""
    rows: dict[str, dict[int, Any]] = {}
    for (model, size), value in values.items():
        rows.setdefault(model, {})[size] = value
    return rows


def _row(study: Study, table: Table, model: str) -> dict[str, Any]:
    one = table.equivalence.get(model)
    counts, reference = table.multiply_adds, study.reference
    both = counts.keys() >= {model, reference}
    return {
        "model": model,
        "params": f"{table.params[model]:,}",
        "params_ratio": f"{table.params[model] / table.params[reference]:.2f}",
        "multiply_adds": text.millions(counts[model]) if model in counts else "–",
        "multiply_adds_ratio": f"{counts[model] / counts[reference]:.2f}" if both else "",
        "ms": f"{1000 * table.seconds_per_step[model]:.1f}",
        "accuracy": [table.interval(model, index) for index in range(len(table.sizes))],
        "by_size": [str(factor).split(" (", 1) for factor in one.by_size] if one else None,
    }


def _variants(table: Table) -> list[dict[str, Any]]:
    return [
        {
            "name": one.variant,
            "against": one.against,
            "by_size": {size: text.points(interval) for size, interval in one.by_size.items()},
            "accuracy": one.accuracy,
            "mean": text.points(one.mean),
            "p": f"{p:.3f}" if (p := table.p[one.variant]) is not None else "",
            "params": f"{one.params:,}",
        }
        for one in table.variants
    ]
