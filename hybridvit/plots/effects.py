"""Figure of an ablation: the effect of each ingredient of a recipe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from hybridvit.plots.theme import SIZE, Array, Theme, framed


def effect_bars(rows: Sequence[tuple[str, Array, Array, int]], theme: Theme) -> Figure:
    """Points of accuracy that each ingredient brings, around a line at 0.

    Args:
        rows: ingredient; mean, lower and upper end of its effect in points ``[3]``, NaN ends: no interval; its
            effect with each seed ``[seeds]``; and 1 where it helps (blue), -1 where it hurts (red), 0 where that is not
            known (grey).
        theme: colours.
    """
    width = max(SIZE[0], 4.0 + 0.075 * max(len(name) for name, *_ in rows))
    figure, axes = framed(theme, 0.95 + 0.42 * len(rows), width)
    for height, (name, (value, low, high), seeds, sign) in enumerate(rows):
        colour = theme.series[{1: 0, -1: 1, 0: 5}[sign]]
        axes.plot([0, value], [height, height], color=colour, lw=9, alpha=0.3, solid_capstyle="butt")
        axes.plot(seeds, np.full(len(seeds), height), color=colour, marker="|", ms=9, mew=1, ls="none", alpha=0.55)
        if np.isfinite(low):
            axes.plot([low, high], [height, height], color=colour, lw=2.4, solid_capstyle="round")
        axes.plot([value], [height], color=colour, marker="o", ms=7, label=name)
        beside = axes.get_yaxis_transform()  # x in widths of the axes: a column of its own
        text = f"{value:+z.2f}".replace("-", "−")
        axes.text(1.03, height, text, transform=beside, va="center", ha="left", color=theme.ink, weight="bold")
    ends = np.concatenate([np.append(interval, seeds) for _, interval, seeds, _ in rows])
    reach = np.nanmax(np.abs(ends), initial=0.01)
    axes.set_xlim(1.1 * min(np.nanmin(ends), -0.08 * reach), 1.1 * max(np.nanmax(ends), 0.08 * reach))
    axes.axvline(0, color=theme.ink, lw=1)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("points of test accuracy,  right of 0: it helps")
    return figure
