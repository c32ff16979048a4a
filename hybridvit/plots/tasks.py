"""Figures of several tasks on one trunk: what sharing costs or gains, and how each task learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hybridvit.plots.conflict import style
from hybridvit.plots.theme import SIZE, Array, Theme, add_legend, framed, plain_ticks, round_values, step_axis

Line = tuple[Sequence[int], Array]  # steps [t] and values [t]
PANEL = (4.0, 2.5)  # inches


def delta_forest(rows: Sequence[tuple[str, str, Array]], theme: Theme) -> Figure:
    """Δm of every trunk and balance with its interval, around a line at 0.

    Args:
        rows: trunk, balance, and mean, lower and upper end in % ``[3]``; NaN ends: no interval. Rows of a trunk
            follow one another.
        theme: colours.
    """
    trunks = list(dict.fromkeys(trunk for trunk, *_ in rows))
    heights, at = [], 0.0
    for index, (trunk, *_) in enumerate(rows):
        at += 0.0 if index == 0 else 1.0 if rows[index - 1][0] == trunk else 1.5
        heights.append(at)
    several = len(trunks) > 1
    names = [f"{trunk} · {balance}" if several else balance for trunk, balance, _ in rows]
    width = max(SIZE[0], 3.4 + 0.085 * max(len(name) for name in names))
    figure, axes = framed(theme, 0.95 + 0.42 * (at + 1), width)
    for height, (trunk, _, interval) in zip(heights, rows, strict=True):
        colour = theme.series[trunks.index(trunk) % len(theme.series)]
        value, low, high = interval
        if np.isfinite(low):
            axes.plot([low, high], [height, height], color=colour, lw=2.4, alpha=0.7, solid_capstyle="round")
        axes.plot([value], [height], color=colour, marker="o", ms=7)
        text = f"{value:+z.1f} %".replace("-", "−")
        beside = axes.get_yaxis_transform()  # x in widths of the axes: a column of its own
        axes.text(1.03, height, text, transform=beside, va="center", ha="left", color=theme.ink, weight="bold")
    ends = np.array([interval for *_, interval in rows])
    reach = np.nanmax(np.abs(ends), initial=0.1)
    axes.set_xlim(1.1 * min(np.nanmin(ends), -0.12 * reach), 1.1 * max(np.nanmax(ends), 0.12 * reach))
    axes.axvline(0, color=theme.ink, lw=1)
    axes.set_yticks(heights, names)
    axes.set_ylim(at + 0.6, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("Δm in %,  right of 0: sharing helps")
    return figure


def curves(
    lines: Mapping[str, Line], title: str, ylabel: str, theme: Theme, alone: str | None = None, legend: bool = False
) -> Figure:
    """Curves over training steps, in one small panel of many, or in a figure of its own with a legend.

    Args:
        lines: name -> steps ``[t]`` and values ``[t]``; NaN: nothing known there.
        title: what the panel is about.
        ylabel: what is drawn; what begins with "loss" has a log axis where it spans decades.
        theme: colours, one for each line in its order.
        alone: a line that others are compared with: grey and dashed, without a colour of its own.
        legend: say here which line is which; else the page does.
    """
    figure, axes = framed(theme) if legend else framed(theme, PANEL[1], PANEL[0])
    coloured = 0
    for name, (steps, values) in lines.items():
        marker = "o" if len(steps) < 3 else ""
        if name == alone:
            axes.plot(steps, values, color=theme.series[5], lw=1.6, ls=(0, (3, 2)), marker=marker, ms=4, label=name)
            continue
        colour = theme.series[coloured % (5 if alone else 6)]
        axes.plot(steps, values, color=colour, lw=1.8, ls=style(coloured), marker=marker, ms=4, label=name)
        coloured += 1
    everything = np.concatenate([values for _, values in lines.values()])
    known = everything[np.isfinite(everything)]
    if ylabel.startswith("loss") and known.size and known.min() > 0 and known.max() / known.min() > 30:
        axes.set_yscale("log")
        plain_ticks(axes.yaxis, round_values(axes.get_ylim()))
    if title:
        axes.set_title(title, color=theme.ink, loc="left", fontsize=10, weight="bold")
    if legend:
        add_legend(axes, theme)
    step_axis(axes)
    axes.set_ylabel(ylabel)
    return figure
