"""Figures of estimates with their intervals, one a row: Δm, the effect of an ingredient, an equivalence in images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hybridvit.plots.theme import SIZE, Array, Theme, framed, plain_ticks


def delta_forest(rows: Sequence[tuple[str, str, Array]], theme: Theme) -> Figure:
    """Δm of every trunk and balance with its interval, around a line at 0.

    Args:
        rows: trunk, balance, and mean, lower and upper end in % ``[3]``; NaN ends: no interval. Rows of a trunk
            follow one another.
        theme: colours.
    """
    trunks = list(dict.fromkeys(trunk for trunk, *_ in rows))
    names = [f"{trunk} · {balance}" if len(trunks) > 1 else balance for trunk, balance, _ in rows]
    numbers = np.array([trunks.index(trunk) for trunk, *_ in rows])
    estimates = np.array([estimate for *_, estimate in rows])
    colours = [theme.series[number % len(theme.series)] for number in numbers]
    places = (np.arange(len(rows)) + 0.5 * numbers).tolist()  # a gap between trunks
    figure, axes = row_figure(names, estimates, [f"{_signed(x, 1)} %" for x in estimates[:, 0]], colours, theme, places)
    _limits_around_zero(axes, estimates)
    axes.set_xlabel("Δm in %,  right of 0: sharing helps")
    return figure


def effect_bars(rows: Sequence[tuple[str, Array, Array, int]], theme: Theme) -> Figure:
    """Points of accuracy that each ingredient brings, around a line at 0.

    Args:
        rows: ingredient; mean, lower and upper end of its effect in points ``[3]``, NaN ends: no interval; its
            effect with each seed ``[seeds]``; and 1 where it helps (blue), -1 where it hurts (red), 0 where that is not
            known (grey).
        theme: colours.
    """
    names, estimates, seeds, signs = zip(*rows, strict=True)
    colours = [theme.series[{1: 0, -1: 1, 0: 5}[sign]] for sign in signs]
    places, texts = range(len(rows)), [_signed(value, 2) for value, *_ in estimates]
    figure, axes = row_figure(names, estimates, texts, colours, theme, places, origin=0)
    for place, effects, colour in zip(places, seeds, colours, strict=True):
        axes.plot(effects, np.full(len(effects), place), color=colour, marker="|", ms=9, mew=1, ls="none", alpha=0.55)
    _limits_around_zero(axes, np.concatenate([*estimates, *seeds]))
    axes.set_xlabel("points of test accuracy,  right of 0: it helps")
    return figure


def equivalence_bars(
    factors: Mapping[str, tuple[float, float, float, str]], models: Sequence[str], reference: str, theme: Theme
) -> Figure:
    """How many times more images the reference needs for the same error.

    Args:
        factors: model -> factor, lower and upper end of its interval, all within what the sizes can show, and the
            factor in words; NaN ends: no interval. What the words call a bound has an arrow.
        models: all models, in the order of the learning curves, which gives the colours.
        reference: name of the reference.
        theme: colours.
    """
    colours = [theme.series[models.index(model) % len(theme.series)] for model in factors]
    estimates = np.array([interval for *interval, _ in factors.values()])
    texts = [text for *_, text in factors.values()]
    figure, axes = row_figure(list(factors), estimates, texts, colours, theme, range(len(factors)), origin=1)
    for row, (factor, text, colour) in enumerate(zip(estimates[:, 0], texts, colours, strict=True)):
        if text.startswith(("more", "less", "at least", "at most")):
            axes.plot([factor], [row], color=colour, marker=">" if factor > 1 else "<", ms=11)
    axes.set_xscale("log")
    finite = estimates[np.isfinite(estimates)]
    axes.set_xlim(finite.min(initial=1) / 1.15, finite.max(initial=1) * 1.15)
    plain_ticks(axes.xaxis)
    axes.set_xlabel(f"times the images that the {reference} needs for the same error")
    return figure


def row_figure(
    names: Sequence[str],
    estimates: Sequence[Array] | Array,
    texts: Sequence[str],
    colours: Sequence[str],
    theme: Theme,
    places: Sequence[float],
    origin: float | None = None,
) -> tuple[Figure, Axes]:
    """Estimates ``[rows, 3]`` as points with their intervals, a name on the left and a text on the right.

    Rows stand at ``places``, which go downwards from 0. Bars from ``origin`` to the points, unless it is None.
    """
    width = max(SIZE[0], 4.0 + 0.075 * max(len(name) for name in names))
    figure, axes = framed(theme, 0.95 + 0.42 * (places[-1] + 1), width)
    beside = axes.get_yaxis_transform()  # x in widths of the axes: a column of its own
    for place, (value, low, high), text, colour in zip(places, estimates, texts, colours, strict=True):
        if origin is not None:
            axes.plot([origin, value], [place, place], color=colour, lw=9, alpha=0.3, solid_capstyle="butt")
        if np.isfinite(low):
            axes.plot([low, high], [place, place], color=colour, lw=2.4, alpha=0.7, solid_capstyle="round")
        axes.plot([value], [place], color=colour, marker="o", ms=7)
        axes.text(1.03, place, text, transform=beside, va="center", ha="left", color=theme.ink, weight="bold")
    axes.axvline(origin or 0, color=theme.ink, lw=1)
    axes.set_yticks(places, names)
    axes.set_ylim(places[-1] + 0.6, -0.6)
    axes.grid(axis="y", visible=False)
    return figure, axes


def _limits_around_zero(axes: Axes, values: Array) -> None:
    """Room for all values, and for both sides of 0."""
    reach = 0.1 * np.nanmax(np.abs(values), initial=0.01)
    axes.set_xlim(1.1 * min(np.nanmin(values), -reach), 1.1 * max(np.nanmax(values), reach))


def _signed(value: float, digits: int) -> str:
    return f"{value:+z.{digits}f}".replace("-", "−")
