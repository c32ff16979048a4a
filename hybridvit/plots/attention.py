"""Figures of what attention does: a reading of every head by layer, and where one token looks."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from hybridvit.plots.pictures import Pixels
from hybridvit.plots.theme import Array, Theme, add_legend, framed


def by_layer(
    values: Array, name: str, theme: Theme, reference: Array | None = None, called: str = "", top: float | None = None
) -> Figure:
    """One reading of every head: heads as points, their mean as a line.

    Args:
        values: ``[layers, heads]``; rows of NaN: layers without it.
        name: of the reading, with its unit.
        theme: colours.
        reference: a value to compare with, ``[layers]``; None: none.
        called: what that is.
        top: upper end of the axis; None: as the values need it.
    """
    figure, axes = framed(theme)
    layers = np.arange(1, len(values) + 1)
    axes.plot(layers, values.mean(axis=1), color=theme.series[0], lw=1.8, marker="_", ms=9, label="mean of the heads")
    for head in values.T:
        axes.plot(layers, head, "o", color=theme.series[0], ms=4.5, alpha=0.55, mew=0)
    if reference is not None:
        ends = np.concatenate([[0.6], layers, [len(values) + 0.4]])  # a line even where there is one layer
        level = np.concatenate([reference[:1], reference, reference[-1:]])
        axes.plot(ends, level, color=theme.ink, lw=1, ls=(0, (2, 3)), label=called)
    known = values if reference is None else np.column_stack([values, reference])
    axes.set_ylim(0, top if top is not None else 1.08 * np.nanmax(known))
    axes.set_xlim(0.6, len(values) + 0.4)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axes.set_xlabel("layer")
    axes.set_ylabel(name)
    add_legend(axes, theme)
    return figure


def heat(values: NDArray[np.floating]) -> Pixels:
    """Non-negative values ``[rows, columns]`` as colours ``[rows, columns, 3]``, black for 0."""
    shares = values / max(float(values.max()), 1e-12)
    colours = matplotlib.colormaps["magma"](shares)
    return np.asarray(np.round(255 * colours[..., :3]), dtype=np.uint8)
