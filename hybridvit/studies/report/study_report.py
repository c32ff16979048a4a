"""Writes the report of a study of any kind: one self-contained page, and the same as JSON, CSV and PNG."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any

from hybridvit.recipe import Recipe
from hybridvit.studies.differences import in_words
from hybridvit.studies.report.page import drawn, further_in_words, render, tasks_in_words
from hybridvit.studies.statistics import Interval
from hybridvit.training.checkpoint import write_text

if TYPE_CHECKING:
    from hybridvit.studies.conduct import Outcome
    from hybridvit.studies.study import StudyConfig


def write_report(study: StudyConfig, outcome: Outcome, command: str = "") -> Outcome:
    """Writes report.html, study.json, the tables as CSV and the figures as PNG, unless nothing can be compared yet.

    Args:
        study: the study.
        outcome: its results.
        command: what a reader types to get the same study.

    Returns:
        The outcome with its report, if there is one.
    """
    report = study.report(outcome)
    if report is None:
        return outcome
    path = outcome.folder.path
    path.mkdir(parents=True, exist_ok=True)
    figures = {name: drawn(draw, path / name) for name, draw in report.figures.items()}
    example = report.facts["example"]
    summary = {
        "title": study.title,
        **report.summary,
        "failed": [{"cell": str(cell), "error": error} for cell, error in outcome.failed],
        "seconds": {"runs": sum(result["seconds"]["total"] for result in outcome.results.values())},
        **{name: example[name] for name in ("device", "versions", "revision")},
        "command": command,
    }
    for name, rows in report.tables.items():
        write_text(path / name, as_csv(rows))
    write_text(path / "study.json", json.dumps(summary, indent=1))
    facts = {**report.facts, "study": study, "figures": figures, "summary": summary, "failed": outcome.failed}
    write_text(path / "report.html", render(report.template, **facts))
    return replace(outcome, report=report)


def as_csv(rows: list[dict[str, Any]]) -> str:
    """Rows as CSV text; what a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def rounded(value: float | None, digits: int = 6) -> float | str:
    """A number for a CSV file; empty where there is none."""
    return round(value, digits) if value is not None and isfinite(value) else ""


def as_json(interval: Interval) -> dict[str, Any]:
    """An interval for study.json, which knows no NaN."""
    return {"mean": interval.value, "interval": ends(interval)}


def ends(interval: Interval) -> list[float | None]:
    """Both ends of an interval; None where there is none."""
    return [end if isfinite(end) else None for end in interval[1:]]


def aligned(rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """Rows as lines of text, the first ``left`` columns to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def held_fixed(
    base: Recipe, example: dict[str, Any], pairing: str, selection: str, whole: bool = True, steps: str = ""
) -> list[tuple[str, str]]:
    """What all runs of a study have in common.

    Args:
        base: the recipe held fixed.
        example: the result of one reported run.
        pairing: what a seed draws.
        selection: what was selected on validation images.
        whole: the recipe too, not only data, budget and protocol.
        steps: number of updates in words; empty: those of the base.
    """
    size = " × ".join(str(side) for side in example["image_size"])
    steps = steps or f"{base.train.steps:,} steps for every run"
    protocol = [
        (
            "Data",
            f"{example['dataset']}, {size} pixels; the same {example['test_images']:,} test images for every run, "
            "read once, after the last step",
        ),
        (
            "Budget",
            f"{steps or f'{base.train.steps:,} steps for every run'}, in batches of {base.train.batch_size} images",
        ),
        ("Pairing", pairing),
        ("Selection", selection),
    ]
    if not whole:
        return protocol
    average = [("Weight averaging", f"decay {base.train.ema}")] if base.train.ema else []
    return [
        *protocol,
        ("Tasks", tasks_in_words(base)),
        ("Augmentation", in_words(base.augment)),
        ("Optimiser", base.optim.describe()),
        *average,
        *further_in_words(base),
        ("Precision", base.train.precision),
    ]
