"""The report of an ablation."""

from __future__ import annotations

from functools import partial
from math import isfinite
from typing import Any

import numpy as np

from hybridvit import plots
from hybridvit.config import to_dict
from hybridvit.studies.ablation.study import NOTHING, Ablation
from hybridvit.studies.ablation.table import AblationTable, Effect, Row, tabulate
from hybridvit.studies.claims import claim
from hybridvit.studies.conduct import Outcome
from hybridvit.studies.differences import changed_fields, in_words
from hybridvit.studies.report.page import signed, tasks_in_words, tone
from hybridvit.studies.report.study_report import aligned, ends, held_fixed, rounded
from hybridvit.studies.statistics import MIN_SEEDS_FOR_INTERVAL, mean_interval
from hybridvit.studies.study import Report

PAIRING = "a seed draws the same images in the same order for every row"
TOGETHER = "all together"  # what the baseline's effect is called
_TOLD = ("name", "model", "data", "augment", "tasks", "optim", "train", "seed")  # of a recipe, told apart


def report(study: Ablation, outcome: Outcome) -> Report | None:
    """The effects of the ingredients; None while nothing can be compared."""
    table = tabulate(study, outcome.results)
    effects = {row.name: row.effect for row in table.ingredients if row.effect is not None} if table else {}
    if table is None or not effects:
        return None
    example = next(iter(outcome.results.values()))
    bars = [(name, np.array(effect.mean), effect.gains, effect.mean.sign) for name, effect in effects.items()]
    return Report(
        template="ablation/report.html.jinja",
        figures={"effect": partial(plots.effect_bars, bars)},
        tables={"table.csv": table_rows(table), "runs.csv": run_rows(table)},
        summary=_summary(study, table, example),
        facts={
            "example": example,
            "cards": _cards(table),
            "claim": claim_of(table),
            "rows": [_cells(study, table, row) for row in table.rows],
            "tested": any(effect.p is not None for effect in effects.values()),
            "intervals": any(len(effect.seeds) >= MIN_SEEDS_FOR_INTERVAL for effect in effects.values()),
            "held_fixed": held_fixed(study.base, example, PAIRING, _selection(example), whole=False),
            "whole_recipe": _whole_recipe(study),
        },
        lines=lines(table),
    )


def claim_of(table: AblationTable) -> str:
    """What the seeds can carry."""
    effects = table.effects
    if not effects:
        return "No effect yet: no seed has a result both with everything and without an ingredient."
    p_values = {TOGETHER if name == NOTHING else name: effect.p for name, effect in effects.items()}
    seeds = max(len(effect.seeds) for effect in effects.values())
    return claim(p_values, seeds, "the difference in accuracy")


def table_rows(table: AblationTable) -> list[dict[str, Any]]:
    """One row for each row of the table: its accuracy, what the whole recipe has over it, and its cost."""
    rows = []
    for row in table.rows:
        effect = row.effect
        value, low, high = effect.mean if effect is not None else (None, None, None)
        rows.append(
            {
                "row": row.name,
                "seeds": len(row.seeds),
                "test_accuracy": round(float(row.accuracy.mean()), 6),
                "effect_points": rounded(value, 4),
                "low_points": rounded(low, 4),
                "high_points": rounded(high, 4),
                "p": rounded(effect.p if effect is not None else None, 4),
                "params": row.params,
                "seconds": round(float(row.seconds.mean()), 3),
                "seconds_ratio": rounded(effect.seconds if effect is not None else None, 4),
                "differs": "; ".join(map(str, row.differs)),
            }
        )
    return rows


def run_rows(table: AblationTable) -> list[dict[str, Any]]:
    """One row for each run."""
    return [
        {
            "row": row.name,
            "seed": seed,
            "test_accuracy": round(float(accuracy), 6),
            "params": row.params,
            "seconds": round(float(seconds), 3),
        }
        for row in table.rows
        for seed, accuracy, seconds in zip(row.seeds, row.accuracy, row.seconds, strict=True)
    ]


def lines(table: AblationTable) -> list[str]:
    """The table for a terminal."""
    base, tested = table.base, any(effect.p is not None for effect in table.effects.values())
    rows = [["", "effect, points", *["p"] * tested, "test accuracy without it, %", "seconds", "parameters"]]
    for row in table.rows:
        effect, p = row.effect, row.effect.p if row.effect is not None else None
        seconds, params = f"{row.seconds.mean():.1f}", f"{row.params:,}"
        rows.append(
            [
                row.name,
                "" if row is base else _interval(effect),
                *[f"{p:.3f}" if p is not None else ""] * tested,
                f"{100 * row.accuracy.mean():.2f}",
                seconds if row is base else f"{seconds} ({_seconds_change(effect)})",
                params if row.params == base.params else f"{params} ({_params_change(row, base)})",
            ]
        )
    return aligned(rows, 2)


def _summary(study: Ablation, table: AblationTable, example: dict[str, Any]) -> dict[str, Any]:
    """Accuracies in [0, 1], effects in points."""
    return {
        **{name: example[name] for name in ("dataset", "train_images", "test_images", "image_size")},
        "steps": study.base.train.steps,
        "batch_size": study.base.train.batch_size,
        "seeds": study.repetitions,
        "base": _json(table.base),
        "without": {row.name: _json(row) for row in table.ingredients},
        "baseline": _json(table.baseline) if table.baseline is not None else None,
    }


def _json(row: Row) -> dict[str, Any]:
    effect = row.effect
    return {
        "differs": [
            {"field": one.field, "base": to_dict(one.before), "here": to_dict(one.after), "text": str(one)}
            for one in row.differs
        ],
        "seeds": list(row.seeds),
        "accuracy": row.accuracy.tolist(),
        "params": row.params,
        "seconds": row.seconds.tolist(),
        "effect": effect and {
            "points": effect.mean.value,
            "interval": ends(effect.mean),
            "seeds": list(effect.seeds),
            "by_seed": effect.gains.tolist(),
            "p": effect.p,
            "seconds_ratio": effect.seconds,
        },
    }  # fmt: skip


def _cards(table: AblationTable) -> list[dict[str, Any]]:
    """The whole recipe, its largest and its smallest effect, and all of it together."""
    base = table.base
    value, low, high = mean_interval(100 * base.accuracy).within(0, 100)
    notes = [f"95 % interval {low:.2f} to {high:.2f} %"] if isfinite(low) else []
    notes.append(f"{base.params:,} parameters, {base.seconds.mean():.1f} seconds a run")
    cards: list[dict[str, Any]] = [
        {"name": "Everything", "number": f"{value:.2f}", "unit": "%", "tone": "", "lines": notes}
    ]
    paired = [(row.name, row.effect) for row in table.ingredients if row.effect is not None]
    if paired:
        name, effect = paired[0]
        cards.append(_card(name, effect, "largest effect" if effect.mean.sign >= 0 else "hurts least"))
    if len(paired) > 1:
        name, effect = paired[-1]
        cards.append(_card(name, effect, "smallest effect" if effect.mean.sign >= 0 else "hurts most"))
    if table.baseline is not None and table.baseline.effect is not None:
        total = sum(effect.mean.value for _, effect in paired)
        cards.append(_card("All together", table.baseline.effect, f"one at a time they add up to {signed(total, 2)}"))
    return cards


def _card(name: str, effect: Effect, note: str) -> dict[str, Any]:
    value, low, high = effect.mean
    notes = [note, *([f"95 % interval {signed(low, 2)} to {signed(high, 2)}"] if isfinite(low) else [])]
    return {"name": name, "number": signed(value, 2), "unit": "points", "tone": tone(effect.mean), "lines": notes}


def _cells(study: Ablation, table: AblationTable, row: Row) -> dict[str, Any]:
    """A row as the page shows it."""
    base, effect = table.base, row.effect
    value, low, high = mean_interval(100 * row.accuracy).within(0, 100)
    return {
        "name": row.name,
        "seeds": f"{len(row.seeds)} of {study.repetitions} seeds" if len(row.seeds) < study.repetitions else "",
        "differs": [str(difference) for difference in row.differs],
        "effect": None if effect is None else effect.mean,
        "tone": "" if effect is None else tone(effect.mean),
        "p": f"{effect.p:.3f}" if effect is not None and effect.p is not None else "",
        "accuracy": f"{value:.2f}",
        "interval": f"{low:.2f} – {high:.2f}" if isfinite(low) else "",
        "seconds": f"{row.seconds.mean():.1f}",
        "seconds_change": "" if row is base else _seconds_change(effect),
        "params": f"{row.params:,}",
        "params_change": "" if row.params == base.params else _params_change(row, base),
    }


def _interval(effect: Effect | None) -> str:
    """An effect in points with its interval."""
    if effect is None:
        return "–"
    value, low, high = effect.mean
    return signed(value, 2) + (f" ({signed(low, 2)} to {signed(high, 2)})" if isfinite(low) else "")


def _seconds_change(effect: Effect | None) -> str:
    """Training time without an ingredient, against that with everything."""
    if effect is None:
        return "–"
    percent = round(100 * (effect.seconds - 1))
    return f"{signed(percent, 0)} %" if percent else "±0 %"


def _params_change(row: Row, base: Row) -> str:
    """Number of parameters against that of the whole recipe."""
    return f"{signed(100 * (row.params / base.params - 1))} %"


def _selection(example: dict[str, Any]) -> str:
    if example["validation_images"]:
        return f"the best step on the data set's own {example['validation_images']:,} validation images"
    return "none: no validation share is set apart, and the weights of the last step count"


def _whole_recipe(study: Ablation) -> list[tuple[str, str]]:
    """Everything that the base is made of."""
    base = study.base
    rows = [
        ("Model", in_words(base.model)),
        ("Tasks", tasks_in_words(base)),
        ("Augmentation", in_words(base.augment)),
        ("Optimiser", f"{base.optim.describe()}, learning rate {base.optim.lr:g}"),
        ("Training", ", ".join(f"{name} {in_words(value)}" for name, value in vars(base.train).items())),
    ]
    rest = {name: value for name, value in changed_fields(base).items() if name not in _TOLD}
    return rows + [(name.replace("_", " ").capitalize(), in_words(value)) for name, value in rest.items()]
