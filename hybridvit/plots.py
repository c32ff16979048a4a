"""Every figure of a report, for light and dark pages; numpy and matplotlib only."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from numpy.typing import NDArray

Array = NDArray[np.float64]

SIZE = (5.0, 3.7)  # inches; at 10 pt still legible on a phone 360 pixels wide
FONT: Any = {"font.size": 10, "font.family": "DejaVu Sans", "svg.fonttype": "path", "svg.hashsalt": "hybridvit"}


@dataclass(frozen=True)
class Theme:
    """Colours of a page."""

    name: str
    ink: str
    faint: str
    background: str
    series: tuple[str, ...]


LIGHT = Theme(
    "light", "#1d2430", "#d8dce3", "#ffffff", ("#0b6fb8", "#c8442e", "#15803d", "#8a4fbf", "#a86b00", "#5b6472")
)
DARK = Theme(
    "dark", "#e6e9ef", "#3a4250", "#151a22", ("#5bb0f0", "#ff8a72", "#5fd08a", "#c79bf2", "#f0b84a", "#a7b0bf")
)
THEMES = (LIGHT, DARK)
MARKERS = ("o", "s", "^", "D", "v", "P")


def learning_curves(sizes: Array, accuracy: Mapping[str, Array], theme: Theme) -> Figure:
    """Test error in % against training images, both on log axes, with intervals.

    Args:
        sizes: training sizes ``[k]``.
        accuracy: model -> mean accuracy and the ends of its interval, ``[k, 3]`` in [0, 1]; NaN ends: none.
        theme: colours.
    """
    figure, axes = _figure(theme)
    errors = {model: 100 * (1 - values) for model, values in accuracy.items()}
    means = np.concatenate([error[:, 0] for error in errors.values()])
    floor = max(means[means > 0].min(initial=100.0), 0.05) / 1.5  # where an error of 0 is drawn
    for index, (model, error) in enumerate(errors.items()):
        colour = theme.series[index % len(theme.series)]
        mean, top, bottom = np.maximum(error, floor).T
        axes.plot(sizes, mean, color=colour, marker=MARKERS[index % len(MARKERS)], ms=5, lw=1.8, label=model)
        axes.fill_between(sizes, bottom, top, color=colour, alpha=0.16, lw=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    _plain_ticks(axes.xaxis, sizes)
    _plain_ticks(axes.yaxis, _nice(axes.get_ylim()))
    axes.set_xlabel("training images")
    axes.set_ylabel("test error, %")
    _legend(axes, theme)
    return figure


def equivalence_bars(
    factors: Mapping[str, tuple[float, float, float, bool]], models: Sequence[str], reference: str, theme: Theme
) -> Figure:
    """How many times more images the reference needs for the same error.

    Args:
        factors: model -> factor, lower end, upper end, and whether the factor is only a bound.
        models: all models, in the order of the learning curves, which gives the colours.
        reference: name of the reference.
        theme: colours.
    """
    figure, axes = _figure(theme, height=1.3 + 0.5 * len(factors))
    highest = max([f for f, *_ in factors.values()] + [h for _, _, h, _ in factors.values() if np.isfinite(h)])
    lowest = min(
        [1.0] + [f for f, *_ in factors.values()] + [low for _, low, _, _ in factors.values() if np.isfinite(low)]
    )
    for row, (model, (factor, low, high, bounded)) in enumerate(factors.items()):
        colour = theme.series[models.index(model) % len(theme.series)]
        axes.plot([1, factor], [row, row], color=colour, lw=9, alpha=0.35, solid_capstyle="butt")
        if np.isfinite(low):
            axes.plot([low, high], [row, row], color=colour, lw=2)
        axes.plot([factor], [row], color=colour, marker="o", ms=7)
        end = max(factor, high if np.isfinite(high) else factor, 1.0)
        axes.annotate(
            f"{'≥ ' if bounded and factor > 1 else '≤ ' if bounded else ''}{factor:.1f}×",
            (end, row), xytext=(8, 0), textcoords="offset points", va="center", color=theme.ink, weight="bold",
        )  # fmt: skip
    axes.axvline(1, color=theme.ink, lw=1)
    axes.set_xscale("log")
    axes.set_xlim(lowest / 1.15, highest * 1.6)
    _plain_ticks(axes.xaxis, _nice(axes.get_xlim()))
    axes.set_yticks(range(len(factors)), list(factors))
    axes.set_ylim(len(factors) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"times the images that the {reference} needs for the same error")
    return figure


def gate_curves(steps: Sequence[int], gates: Array, theme: Theme) -> Figure:
    """σ(λ) of every layer over training: the mean of its heads as a line, their range as a band.

    Args:
        steps: logged steps ``[t]``.
        gates: ``[t, layers, heads]``.
        theme: colours.
    """
    figure, axes = _figure(theme)
    for layer in range(gates.shape[1]):
        colour = theme.series[layer % len(theme.series)]
        heads = gates[:, layer]
        axes.fill_between(steps, heads.min(axis=1), heads.max(axis=1), color=colour, alpha=0.16, lw=0)
        axes.plot(steps, heads.mean(axis=1), color=colour, lw=1.8, label=f"layer {layer + 1}")
    axes.axhline(0.5, color=theme.ink, lw=0.8, ls=(0, (2, 3)))
    axes.set_ylim(0, 1)
    axes.set_xlim(0, max(steps))
    axes.set_xlabel("training steps")
    axes.set_ylabel("σ(λ):  0 content,  1 position")
    _legend(axes, theme)
    return figure


def to_svg(figure: Figure) -> str:
    """The figure as an <svg> element, to be put into a page; the same figure gives the same text."""
    text = io.StringIO()
    with matplotlib.rc_context(FONT):
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG of 200 dots per inch."""
    data = io.BytesIO()
    with matplotlib.rc_context(FONT):
        figure.savefig(data, format="png", dpi=200)
    return data.getvalue()


def _figure(theme: Theme, height: float = SIZE[1]) -> tuple[Figure, Axes]:
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=(SIZE[0], height), layout="constrained", facecolor=theme.background)
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(facecolor="none")
    axes.tick_params(colors=theme.ink, which="both", length=3)
    axes.grid(color=theme.faint, lw=0.6)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(theme.faint)
    axes.xaxis.label.set_color(theme.ink)
    axes.yaxis.label.set_color(theme.ink)
    return figure, axes


def _legend(axes: Axes, theme: Theme) -> None:
    axes.legend(
        frameon=False, labelcolor=theme.ink, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2
    )


def _plain_ticks(axis: matplotlib.axis.Axis, values: Sequence[float] | Array) -> None:
    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _nice(limits: tuple[float, float]) -> list[float]:
    """The 1, 2, 5 steps of the decades within the limits."""
    exponents = range(int(np.floor(np.log10(limits[0]))), int(np.ceil(np.log10(limits[1]))) + 1)
    return [m * 10.0**e for e in exponents for m in (1, 2, 5) if limits[0] <= m * 10.0**e <= limits[1]]
