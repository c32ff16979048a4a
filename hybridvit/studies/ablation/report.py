"""The report of an ablation: one self-contained page, and the same as JSON, CSV and PNG."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np

from hybridvit import plots
from hybridvit.recipe import Ablation
from hybridvit.studies.ablation.run import AblationOutcome
from hybridvit.studies.ablation.summary import runs_csv, summary, table_csv
from hybridvit.studies.ablation.table import tabulate
from hybridvit.studies.ablation.text import cards, claim, held_fixed, table_rows, whole_recipe
from hybridvit.studies.conduct import StudyFolder
from hybridvit.studies.report.page import drawn, render
from hybridvit.studies.statistics import MIN_SEEDS_FOR_INTERVAL
from hybridvit.training.checkpoint import write_text


def write_ablation_report(study: Ablation, folder: StudyFolder, outcome: AblationOutcome, command: str) -> Path | None:
    """Writes report.html, table.csv, runs.csv, study.json and worth.png; None while nothing can be compared.

    Args:
        study: the study.
        folder: where to write.
        outcome: its results.
        command: what a reader types to get the same study.
    """
    table = tabulate(study, outcome.results)
    paired = [(row.name, row.worth) for row in table.ingredients if row.worth is not None] if table else []
    if table is None or not paired:
        return None
    bars = [(name, np.array(worth.mean), worth.gains, worth.sign) for name, worth in paired]
    figure = drawn(partial(plots.worth_bars, bars), folder.path / "worth.png")
    whole = summary(study, table, outcome, command)
    write_text(folder.path / "table.csv", table_csv(table))
    write_text(folder.path / "runs.csv", runs_csv(table))
    write_text(folder.path / "study.json", json.dumps(whole, indent=1))
    page = render(
        "ablation/report.html.jinja",
        study=study,
        figure=figure,
        summary=whole,
        cards=cards(table),
        claim=claim(table),
        failed=outcome.failed,
        rows=table_rows(study, table),
        tested=any(worth.p is not None for _, worth in paired),
        intervals=any(len(worth.seeds) >= MIN_SEEDS_FOR_INTERVAL for _, worth in paired),
        held_fixed=held_fixed(study, next(iter(outcome.results.values()))),
        whole_recipe=whole_recipe(study),
    )
    write_text(folder.path / "report.html", page)
    return folder.path / "report.html"
