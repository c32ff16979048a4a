"""The page on what a trained run attends to, and the table for the terminal."""

from __future__ import annotations

import base64
import json
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hybridvit import plots
from hybridvit.runs.diagnosis import Diagnosis, Layer, middle_looks
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.studies.report.page import Drawing, drawn, render
from hybridvit.training.checkpoint import write_text
from hybridvit.training.run_folder import device_name, revision, versions

SHOWN = 4  # pictures on the page
SIDE = 120  # pixels that a picture on the page has at least


def diagnosis_lines(diagnosis: Diagnosis) -> list[str]:
    """A table for the terminal, a line for each layer."""
    lines = [f"{'layer':<22}{'distance, px (heads)':>24}{'of uniform':>12}   gate (heads)"]
    for index, layer in enumerate(diagnosis.layers, start=1):
        row = _row(index, layer)
        gate = f"{row['gate']}  ({row['gates']})" if layer.gates else "–"
        distance = f"{row['distance']}  ({row['heads']})"
        lines.append(f"{f'{index}  {layer.kind}':<22}{distance:>24}{row['relative']:>12}   {gate}")
    return lines


def write_diagnosis(trained: LoadedRun, pixels: NDArray[np.uint8], diagnosis: Diagnosis, command: str) -> Path:
    """Writes diagnosis.html and diagnosis.json into the run's folder.

    Args:
        trained: the run.
        pixels: the images that were looked at.
        diagnosis: what was found.
        command: what a reader types to get the same page.
    """
    figures = {name: drawn(draw) for name, draw in _figures(trained, diagnosis).items()}
    facts = {
        "command": command,
        "versions": versions(),
        "revision": revision(),
        "device": device_name(torch.device("cpu")),
    }
    page = render(
        "report/diagnosis.html.jinja",
        recipe=trained.recipe,
        params=sum(p.numel() for p in trained.net.parameters()),
        diagnosis=diagnosis,
        figures=figures,
        rows=[_row(index, layer) for index, layer in enumerate(diagnosis.layers, start=1)],
        strips=_strips(trained, pixels[:SHOWN]),
        summary=facts,
    )
    write_text(trained.path / "diagnosis.html", page)
    write_text(trained.path / "diagnosis.json", json.dumps({**diagnosis.to_json(), **facts}, indent=1))
    return trained.path / "diagnosis.html"


def _figures(trained: LoadedRun, diagnosis: Diagnosis) -> dict[str, Drawing]:
    distance = np.array([layer.distance for layer in diagnosis.layers])
    uniform = np.array(diagnosis.uniform)
    figures: dict[str, Drawing] = {
        "distance": partial(
            plots.by_layer, distance, "attention distance, px", reference=uniform, called="uniform attention"
        )
    }
    if any(layer.gates for layer in diagnosis.layers):
        none = [float("nan")] * distance.shape[1]
        gated = np.array([layer.gates or none for layer in diagnosis.layers])
        last = max(index for index, layer in enumerate(diagnosis.layers) if layer.gates)
        figures["gates"] = partial(plots.by_layer, gated[: last + 1], "σ(λ):  0 content,  1 position", top=1.0)
    result = trained.path / "result.json"
    if "gates" in figures and result.is_file():
        history = json.loads(result.read_text(encoding="utf-8"))["history"]
        if "gates" in history:
            steps = [0, *history["steps"]]
            figures["course"] = partial(plots.gate_curves, steps, np.array(history["gates"]))
    return figures


def _strips(trained: LoadedRun, pixels: NDArray[np.uint8]) -> list[list[tuple[str, str]]]:
    """For each picture itself, then by layer where the token in its middle looks: caption and PNG."""
    strips = []
    for image, looks in zip(pixels, middle_looks(trained, pixels), strict=True):
        maps = [(f"layer {layer}", _png(plots.heat(look))) for layer, look in enumerate(looks, start=1)]
        strips.append([("image", _png(plots.to_rgb(image))), *maps])
    return strips


def _png(pixels: NDArray[np.uint8]) -> str:
    data = plots.encode_png(plots.enlarged(pixels, SIDE))
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _row(index: int, layer: Layer) -> dict[str, str]:
    distance = np.array(layer.distance)
    gate = np.array(layer.gates) if layer.gates else None
    return {
        "layer": str(index),
        "kind": layer.kind,
        "distance": f"{distance.mean():.1f}",
        "heads": _range(distance),
        "relative": f"{np.mean(layer.relative):.2f}",
        "gate": "–" if gate is None else f"{gate.mean():.2f}",
        "gates": "" if gate is None else _range(gate, 2),
    }


def _range(values: NDArray[np.float64], digits: int = 1) -> str:
    return f"{values.min():.{digits}f} to {values.max():.{digits}f}"
