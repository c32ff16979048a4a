"""What all reports share: the page they extend, figures for both themes, and settings in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from importlib.resources import files
from math import isfinite
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from hybridvit import plots
from hybridvit.config import to_dict
from hybridvit.recipe import Recipe
from hybridvit.studies.statistics import Interval

Drawing = Callable[[plots.Theme], Figure]


def render(template: str, **facts: Any) -> str:
    """A page from one of the templates beside this file, which all extend ``page.html.jinja``."""
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files("hybridvit.studies").joinpath(name).read_text("utf-8")),
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = _percent
    environment.filters["signed"] = signed
    environment.filters["tone"] = tone
    environment.tests["finite"] = isfinite
    return environment.get_template(template).render(themes=plots.THEMES, **facts)


def drawn(draw: Drawing, stem: Path | None = None) -> dict[str, str]:
    """A figure as SVG for each theme, by its name; the light one is also written as ``stem`` .png, .svg and .pdf."""
    figures = {theme.name: draw(theme) for theme in plots.THEMES}
    svgs = {name: plots.to_svg(figure) for name, figure in figures.items()}
    if stem is not None:
        light = figures[plots.LIGHT.name]
        stem.with_name(f"{stem.name}.png").write_bytes(plots.to_png(light))
        stem.with_name(f"{stem.name}.svg").write_text(svgs[plots.LIGHT.name], encoding="utf-8")
        stem.with_name(f"{stem.name}.pdf").write_bytes(plots.to_pdf(light))
    return svgs


def tasks_in_words(recipe: Recipe) -> str:
    """Each task with its kind and the settings that are not at their default."""
    words = []
    for name, config in recipe.tasks.items():
        plain = {field.name: field.default for field in fields(config)} | {"target": name, "kind": config.kind}
        changed = {key: value for key, value in to_dict(config).items() if value != plain[key]}
        rest = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in changed.items())
        words.append(f"{name} ({config.kind}{', ' if rest else ''}{rest})")
    return "; ".join(words)


def further_in_words(recipe: Recipe) -> list[tuple[str, str]]:
    """Ingredients that most recipes do without, each with its name."""
    rows = []
    if recipe.whitening_init:
        rows.append(("Initialisation", "the convolution that reads the images is their whitening transform at first"))
    if recipe.progressive.sizes:
        sizes = ", ".join(f"{side} px from {share:.0%} on" for share, side in recipe.progressive.sizes)
        rows.append(("Image sizes", sizes))
    if (pretrain := recipe.pretrain) is not None:
        what = f"{pretrain.steps} steps of masked image modelling on the training images, without labels"
        rows.append(("Pre-training", what))
    if (teacher := recipe.teacher) is not None:
        what = f"the {teacher.what} of a small CNN, trained on the same images for {teacher.steps} steps"
        rows.append(("Teacher", what))
    return rows


def tone(interval: Interval) -> str:
    """The CSS class of a gain or a loss; none where the interval reaches 0."""
    return {1: "good", -1: "bad", 0: ""}[interval.sign]


def signed(value: float, digits: int = 1) -> str:
    """With a sign, the minus as typographers set it."""
    return f"{value:+z.{digits}f}".replace("-", "−")


# Metrics that are shares of something are shown in %; the others in their own units.
_NO_SHARES = ("r2", "cosine")


def is_share(metric: str, higher_is_better: bool) -> bool:
    """Whether a metric lies in [0, 1] and is shown in %."""
    return higher_is_better and metric not in _NO_SHARES


def metric_text(value: float, share: bool) -> str:
    """A metric's value, to as many digits as are worth reading."""
    if share:
        return f"{100 * value:.1f}"
    text = f"{value:.3g}" if abs(value) < 0.1 else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return text.replace("-", "−")


def metric_name(metric: str, share: bool, higher_is_better: bool) -> str:
    """A column's head: name, unit, and an arrow where less is better."""
    names: Mapping[str, str] = {
        "r2": "R²",
        "map": "mAP",
        "miou": "mIoU",
        "mae": "MAE",
        "f1": "F1",
        "ap": "AP",
        "ap50": "AP50",
        "pck": "PCK",
    }
    return f"{names.get(metric, metric.replace('_', ' '))}{' %' if share else ''}{'' if higher_is_better else ' ↓'}"


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f}"
