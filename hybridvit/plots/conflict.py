"""Figures of gradient conflict: where in the trunk, and when, tasks pull in different directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from hybridvit.plots.theme import Array, Theme, framed, series_style, step_axis

ROW, COLUMN = 0.34, 0.56  # inches of a cell; "−0.12" at 9 pt fits
MAP_WIDTH = 5.0
EQUAL_CONTRAST = 0.19  # the luminance on which white and near-black read alike


def conflict_map(cosines: Array, pairs: Sequence[str], stages: Sequence[str], theme: Theme) -> Figure:
    """Mean cosine between two tasks' gradients: red where they pull apart, blue where they agree.

    Args:
        cosines: ``[pairs, stages]``; NaN where the two never met.
        pairs: row names.
        stages: column names, from the image to the heads.
        theme: colours.
    """
    labels = 0.085 * max(len(pair) for pair in pairs)
    slanted = max(len(stage) for stage in stages) > 7
    width = max(MAP_WIDTH, labels + COLUMN * len(stages) + 0.7)
    height = ROW * len(pairs) + (1.3 if slanted else 0.75)
    figure, axes = framed(theme, height, width)
    limit = scale_end(cosines)
    colours = LinearSegmentedColormap.from_list("conflict", [theme.series[1], theme.background, theme.series[0]])
    cells = axes.pcolormesh(
        np.arange(len(stages) + 1) - 0.5, np.arange(len(pairs) + 1) - 0.5, np.ma.masked_invalid(cosines),
        cmap=colours, vmin=-limit, vmax=limit, edgecolors=theme.background, linewidth=1,
    )  # fmt: skip
    axes.invert_yaxis()
    for row in range(len(pairs)):
        for column in range(len(stages)):
            value = cosines[row, column]
            if np.isnan(value):
                axes.text(column, row, "·", ha="center", va="center", color=theme.ink)
                continue
            cell = colours((value + limit) / (2 * limit))
            text = "#ffffff" if luminance(cell) < EQUAL_CONTRAST else "#10151d"
            axes.text(column, row, signed(value), ha="center", va="center", color=text, fontsize=9)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    rotation: Any = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(len(stages)), list(stages), **rotation)
    axes.set_yticks(range(len(pairs)), list(pairs))
    bar = figure.colorbar(cells, ax=axes, ticks=[-limit, 0, limit], fraction=0.04, pad=0.02, aspect=30)
    bar.ax.set_yticklabels([f"−{limit:g}", "0", f"+{limit:g}"])
    bar.ax.tick_params(colors=theme.ink, length=0)
    bar.outline.set_visible(False)  # type: ignore[operator]
    return figure


def conflict_course(steps: Sequence[int], cosines: Mapping[str, Array], theme: Theme) -> Figure:
    """Cosine of the tasks' gradients in the trunk as a whole over training: mean over the pairs, and their range.

    Args:
        steps: where it was measured, ``[t]``.
        cosines: balance -> ``[t, pairs]``; NaN where two tasks did not meet.
        theme: colours.
    """
    figure, axes = framed(theme, 2.9)
    for index, values in enumerate(cosines.values()):
        style = series_style(index, theme)
        masked = np.ma.masked_invalid(values)
        if len(cosines) == 1:
            for pair in masked.T:
                axes.plot(steps, pair, color=style["color"], lw=0.8, alpha=0.35)
        marker = "o" if len(steps) < 3 else ""
        axes.plot(steps, masked.mean(axis=1), **style, lw=2, marker=marker)
    axes.axhline(0, color=theme.ink, lw=1)
    reach = 1.1 * max(0.05, *(abs(edge) for edge in axes.get_ylim()))
    axes.set_ylim(-reach, reach)
    step_axis(axes)
    axes.set_ylabel("cosine in the trunk")
    return figure


def scale_end(cosines: Array) -> float:
    """The tenth that no cosine exceeds, at least 0.1."""
    reach = float(np.fmax.reduce(np.abs(cosines), axis=None, initial=0.0))
    return max(float(np.ceil(10 * reach - 1e-9)), 1.0) / 10


def signed(value: float) -> str:
    """Two digits with a sign, without the leading zero."""
    text = f"{abs(value):.2f}".replace("0.", ".", 1)
    return text if text == ".00" else f"{'−' if value < 0 else '+'}{text}"


def luminance(colour: Any) -> float:
    """Relative luminance of an sRGB colour, between 0 and 1 (WCAG 2)."""
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
