"""What a study shows while it runs."""

import io

import pytest
from rich.console import Console

from hybridvit.backbones import ResNetConfig
from hybridvit.recipe import Recipe
from hybridvit.studies.cells import Cell
from hybridvit.studies.progress import Estimate, ProgressDisplay, clock_text


def test_time_left_by_hand():
    now = [0.0]
    estimate = Estimate(total=10, done=2, workers=2, clock=lambda: now[0])
    assert estimate.left() is None
    estimate.start("a")
    estimate.start("b")
    now[0] = 4.0
    estimate.end("a")
    # 7 are left, at 4 s each; "b" has had its 4 s: (28 - 4) / 2 workers
    assert estimate.left() == pytest.approx(12.0)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (3723, "1:02:03")])
def test_clock(seconds, text):
    assert clock_text(seconds) == text


def test_away_from_a_terminal_it_prints_lines():
    out = io.StringIO()
    recipe = Recipe(name="r", model=ResNetConfig())
    cells = [Cell(("ResNet", 30), seed, recipe, "ResNet, 30 images", "run-resnet-n30") for seed in range(2)]
    with ProgressDisplay(Console(file=out, width=60)) as display:
        display.stage("learning curves", 2, 0, 1)
        for cell in cells:
            display.started(cell)
            display.ended(cell, {"test": {"label": {"accuracy": 0.5}}})
            break
        display.started(cells[1])
        display.ended(cells[1], {"error": "ValueError: no"})
    text = out.getvalue()
    assert "1 of 2 runs" in text
    assert "ResNet, 30 images, seed 0: 50.0 % test accuracy" in text
    assert "failed: ResNet, 30 images, seed 1: ValueError: no" in text
