"""The page on what a trained run has learned, and the tables for the terminal."""

from __future__ import annotations

import base64
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hybridvit import plots
from hybridvit.runs.diagnosis import Diagnosis, Measured, middle_attention
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.studies.report.page import drawn, render
from hybridvit.training.checkpoint import write_text
from hybridvit.training.run_folder import device_name, revision, versions

SHOWN = 4  # pictures on the page
SIDE = 120  # pixels that a picture on the page has at least


def diagnosis_lines(diagnosis: Diagnosis) -> list[str]:
    """Tables for the terminal: for each measure a heading, then a line for each layer."""
    lines = []
    for measured in diagnosis.measured:
        columns, *rows = _table(measured)
        for label, *cells in ([_axis(measured), *columns[1:]], *rows):
            lines.append(f"{label:<26}" + "".join(f"{cell:>18}" for cell in cells))
    return lines


def write_diagnosis(trained: LoadedRun, pixels: NDArray[np.uint8], diagnosis: Diagnosis, command: str) -> Path:
    """Writes diagnosis.html and diagnosis.json into the run's folder.

    Args:
        trained: the run.
        pixels: the images that were read.
        diagnosis: the result.
        command: what a reader types to get the same page.
    """
    facts = {
        "command": command,
        "versions": versions(),
        "revision": revision(),
        "device": device_name(torch.device("cpu")),
    }
    result = trained.path / "result.json"
    history = json.loads(result.read_text(encoding="utf-8"))["history"] if result.is_file() else {}
    page = render(
        "report/diagnosis.html.jinja",
        recipe=trained.recipe,
        params=sum(p.numel() for p in trained.net.parameters()),
        diagnosis=diagnosis,
        sections=[_section(measured, history) for measured in diagnosis.measured],
        strips=_strips(trained, pixels[:SHOWN]),
        summary=facts,
    )
    write_text(trained.path / "diagnosis.html", page)
    write_text(trained.path / "diagnosis.json", json.dumps({**diagnosis.to_json(), **facts}, indent=1))
    return trained.path / "diagnosis.html"


def _section(measured: Measured, history: dict[str, Any]) -> dict[str, Any]:
    """One measure on the page: its figure, its table, and its course over training if that was logged."""
    measure, reading = measured.measure, measured.reading
    last = max(reading.numbers, default=len(reading.layers))  # the figure ends with the last layer that has a value
    values = reading.values.reshape(len(reading.values), -1)[:last]
    reference = None if reading.reference is None else reading.reference[:last]
    figure = partial(
        plots.by_layer, values, _axis(measured), reference=reference, called=measure.reference, top=measure.top
    )
    section = {"measure": measure, "figure": drawn(figure), "table": _table(measured), "course": None}
    if measure.name in history:
        steps, course = [0, *history["steps"]], np.array(history[measure.name])
        course = course.reshape(*course.shape[:2], -1)
        draw = partial(plots.over_training, steps, course, reading.numbers, _axis(measured), top=measure.top)
        section["course"] = drawn(draw)
    return section


def _table(measured: Measured) -> list[list[str]]:
    """Column names, then a row for each layer: number and kind, mean, range of the heads, share of the reference."""
    measure, reading = measured.measure, measured.reading
    heads = reading.values.ndim > 1
    columns = ["layer", "mean" if heads else "value", "range of heads", f"of {measure.reference}"]
    rows = [columns]
    relative = reading.values if reading.relative is None else reading.relative
    for number, (kind, values, share) in enumerate(zip(reading.layers, reading.values, relative, strict=True), start=1):
        low, mean, high = (f"{f(values):.{measure.digits}f}" for f in (np.min, np.mean, np.max))
        row = [f"{number:>3}  {kind}", mean, f"{low} to {high}", f"{np.mean(share):.2f}"]
        rows.append(row if number in reading.numbers else [row[0], "–", "–", "–"])
    shown = [True, True, heads, bool(measure.reference)]
    return [[cell for cell, show in zip(row, shown, strict=True) if show] for row in rows]


def _axis(measured: Measured) -> str:
    """Title and unit, for axes and headings."""
    measure = measured.measure
    return f"{measure.title}, {measure.unit}" if measure.unit else measure.title


def _strips(trained: LoadedRun, pixels: NDArray[np.uint8]) -> list[list[tuple[str, str]]]:
    """For each picture itself, then by layer what its middle token attends to: caption and PNG."""
    strips = []
    for image, maps in zip(pixels, middle_attention(trained, pixels), strict=True):
        layers = [(f"layer {layer}", _png(plots.heat(values))) for layer, values in enumerate(maps, start=1)]
        strips.append([("image", _png(plots.to_rgb(image))), *layers])
    return strips


def _png(pixels: NDArray[np.uint8]) -> str:
    data = plots.encode_png(plots.enlarged(pixels, SIDE))
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"
