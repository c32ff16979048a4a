"""The look of every figure: colours for light and dark pages, frames, legends, and the ways out as SVG and PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator
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


def to_svg(figure: Figure) -> str:
    """The figure as an <svg> element, to be put into a page; the same figure gives the same text."""
    text = io.StringIO()
    with matplotlib.rc_context(FONT):
        figure.savefig(
            text, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG of 200 dots per inch."""
    data = io.BytesIO()
    with matplotlib.rc_context(FONT):
        figure.savefig(data, format="png", dpi=200)
    return data.getvalue()


def framed(theme: Theme, height: float = SIZE[1], width: float = SIZE[0]) -> tuple[Figure, Axes]:
    """An empty figure of these inches, with one pair of axes."""
    with matplotlib.rc_context(FONT):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor=theme.background)
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


def series_style(index: int, theme: Theme) -> dict[str, Any]:
    """Colour, marker and line of a series; from the seventh on the colours come back, dashed, with empty markers."""
    turn, colour = divmod(index, len(theme.series))
    return {
        "color": theme.series[colour],
        "marker": MARKERS[(colour + turn) % len(MARKERS)],
        "ls": (0, (4, 2)) if turn else "-",
        "mfc": theme.background if turn else theme.series[colour],
    }


def add_legend(axes: Axes, theme: Theme) -> None:
    """A legend above the axes."""
    axes.legend(
        frameon=False, labelcolor=theme.ink, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2
    )


def step_axis(axes: Axes) -> None:
    """Training steps along x: whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlabel("training steps")


def plain_ticks(axis: matplotlib.axis.Axis, values: Sequence[float] | Array) -> None:
    """Ticks at these values and nowhere else, written in full."""
    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def round_values(limits: tuple[float, float]) -> list[float]:
    """The 1, 2, 5 steps of the decades within the limits; where these are closer than that, evenly spaced values."""
    exponents = range(int(np.floor(np.log10(limits[0]))), int(np.ceil(np.log10(limits[1]))) + 1)
    found = [m * 10.0**e for e in exponents for m in (1, 2, 5) if limits[0] <= m * 10.0**e <= limits[1]]
    if len(found) > 1:
        return found
    return [float(value) for value in MaxNLocator(5).tick_values(*limits) if limits[0] <= value <= limits[1]]
