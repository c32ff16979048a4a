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
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
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


def to_pdf(figure: Figure) -> bytes:
    """The figure as a PDF, without the time at which it was made."""
    data = io.BytesIO()
    with matplotlib.rc_context(FONT):
        figure.savefig(data, format="pdf", metadata={"CreationDate": None})
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


def series_style(index: int, theme: Theme, colours: int = 6) -> dict[str, Any]:
    """Colour and line of a series, which may have so many colours; they come back dashed."""
    turn, colour = divmod(index, colours)
    return {"color": theme.series[colour], "ls": "--" if turn else "-"}


def marked_style(index: int, theme: Theme) -> dict[str, Any]:
    """Colour, line and marker of a series; markers are empty where the colours come back."""
    style, turn = series_style(index, theme), index // 6
    fill = theme.background if turn else style["color"]
    return {**style, "marker": MARKERS[(index + turn) % len(MARKERS)], "mfc": fill}


def add_legend(axes: Axes, theme: Theme) -> None:
    """A legend above the axes."""
    axes.legend(
        frameon=False, labelcolor=theme.ink, ncols=2, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2
    )


def step_axis(axes: Axes) -> None:
    """Training steps along x: whole numbers."""
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.set_xlabel("training steps")


def plain_ticks(axis: matplotlib.axis.Axis, values: Sequence[float] | Array | None = None) -> None:
    """Ticks at these values, or at 1, 2 and 5 in every decade of a log axis, written in full."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if values is None else FixedLocator(list(values)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
