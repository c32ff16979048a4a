"""The report of one run with many heads: how each task learned, and what every head says of a few images."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hybridvit import plots
from hybridvit.recipe import Recipe
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.studies.differences import in_words
from hybridvit.studies.report.conflicts import mean_conflict
from hybridvit.studies.report.curves import loss_curve, validation_curve
from hybridvit.studies.report.page import (
    Drawing,
    drawn,
    is_share,
    metric_name,
    metric_text,
    render,
    tasks_in_words,
)
from hybridvit.studies.report.predictions import look
from hybridvit.training.checkpoint import write_text


def write_run_report(run_folder: Path, trained: LoadedRun, splits: Any) -> Path:
    """Writes report.html into the folder of a finished run.

    Args:
        run_folder: the run.
        trained: the run read back.
        splits: its data, as ``trained.load()`` gives them.

    Raises:
        ValueError: the run is not finished.
    """
    path = run_folder / "result.json"
    if not path.is_file():
        raise ValueError(f"{run_folder} has no result.json yet: a report is written of a finished run")
    result = json.loads(path.read_text(encoding="utf-8"))
    recipe = trained.recipe
    figures = {name: drawn(draw) for name, draw in _figures(recipe, result, _weights(run_folder)).items()}
    page = render(
        "report/run_report.html.jinja",
        result=result,
        figures=figures,
        cards=[_card(recipe, result, task) for task in recipe.tasks],
        rows=[_row(recipe, result, task) for task in recipe.tasks],
        losses=[name for name in figures if name.startswith("loss_")],
        validations=[name for name in figures if name.startswith("validation_")],
        stages=len(result["history"]["conflicts"][0]["stages"]) if "conflict" in figures else 0,
        predictions=look(trained, splits),
        settings=[
            ("Tasks", tasks_in_words(recipe)),
            ("Augmentation", in_words(recipe.augment)),
            ("Optimiser", f"{recipe.optim.describe()}, learning rate {recipe.optim.lr:g}"),
            ("Budget", f"{recipe.train.steps:,} steps of {recipe.train.batch_size} images, seed {recipe.seed}"),
            ("Time", f"{result['seconds']['total']:.0f} s"),
        ],
    )
    write_text(run_folder / "report.html", page)
    return run_folder / "report.html"


def _figures(recipe: Recipe, result: dict[str, Any], weights: dict[str, plots.Line]) -> dict[str, Drawing]:
    figures: dict[str, Drawing] = {}
    for task in recipe.tasks:
        figures[f"loss_{task}"] = partial(plots.curves, {task: loss_curve([result], task)}, task, "loss")
    for task, config in recipe.tasks.items():
        metric, higher = next(iter(config.higher_is_better().items()))
        curve = validation_curve([result], task, metric)
        if curve is not None:
            share = is_share(metric, higher)
            steps, values = curve
            name = metric_name(metric, share, higher)
            line = {task: (steps, 100 * values if share else values)}
            figures[f"validation_{task}"] = partial(plots.curves, line, task, name)
    if weights:
        figures["weights"] = partial(plots.curves, weights, "", "weight", legend=True)
    conflict = mean_conflict(result["history"].get("conflicts", []))
    if conflict is not None:
        figures["conflict"] = partial(plots.conflict_map, conflict.mean, conflict.pairs, conflict.stages)
        figures["course"] = partial(plots.conflict_course, conflict.steps, {"": conflict.course})
    if "gates" in result["history"]:
        steps = [0, *result["history"]["steps"]]
        figures["gates"] = partial(plots.gate_curves, steps, np.array(result["history"]["gates"]))
    return figures


def _weights(run_folder: Path) -> dict[str, plots.Line]:
    """Task -> steps and weights, out of metrics.jsonl; nothing where the balance has none."""
    path = run_folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    logged = [record for record in map(json.loads, lines) if "weights" in record]
    tasks = dict.fromkeys(task for record in logged for task in record["weights"])
    steps = [record["step"] for record in logged]
    return {
        task: (steps, np.array([record["weights"].get(task) for record in logged], dtype=np.float64)) for task in tasks
    }


def _metrics(recipe: Recipe, result: dict[str, Any], task: str) -> list[tuple[str, str]]:
    """Name and value of each test metric, as text."""
    found = (result["test"] or {}).get(task, {})
    said = []
    for metric, higher in recipe.tasks[task].higher_is_better().items():
        if metric in found:
            share = is_share(metric, higher)
            said.append(
                (metric_name(metric, False, higher), metric_text(found[metric], share) + (" %" if share else ""))
            )
    return said


def _card(recipe: Recipe, result: dict[str, Any], task: str) -> dict[str, str]:
    said = _metrics(recipe, result, task)
    if not said:
        return {"name": task, "value": "–", "what": "no test image has a label"}
    return {"name": task, "value": said[0][1], "what": f"test {said[0][0]}"}


def _row(recipe: Recipe, result: dict[str, Any], task: str) -> dict[str, str]:
    count, total = result["labelled"][task], result["train_images"]
    labelled = f"{count:,}" if count == total else f"{count:,} of {total:,}"
    metrics = ", ".join(f"{name} {value}" for name, value in _metrics(recipe, result, task)) or "–"
    return {"name": task, "kind": recipe.tasks[task].kind, "labelled": labelled, "metrics": metrics}
