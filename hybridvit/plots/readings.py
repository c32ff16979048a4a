"""Readings of the heads of every layer: by layer, and over training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hybridvit.plots.theme import Array, Theme, add_legend, framed, series_style, step_axis


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


def gate_curves(steps: Sequence[int], gates: Array, theme: Theme) -> Figure:
    """σ(λ) of every layer over training, as in :func:`over_training`; gates ``[t, layers, heads]``."""
    layers = range(1, gates.shape[1] + 1)
    return over_training(steps, gates, layers, "σ(λ):  0 content,  1 position", theme, top=1.0)


def over_training(
    steps: Sequence[int], values: Array, layers: Sequence[int], name: str, theme: Theme, top: float | None = None
) -> Figure:
    """One reading of every layer over training: the mean of its heads as a line, their range as a band.

    Args:
        steps: logged steps ``[t]``.
        values: ``[t, layers, heads]``.
        layers: number of each layer.
        name: of the reading, with its unit.
        theme: colours.
        top: upper end of the axis, which then has a line in its middle; None: as the values need it.
    """
    figure, axes = framed(theme)
    for index, layer in enumerate(layers):
        style = series_style(index, theme)
        heads = values[:, index]
        axes.fill_between(steps, heads.min(axis=1), heads.max(axis=1), color=style["color"], alpha=0.16, lw=0)
        axes.plot(steps, heads.mean(axis=1), **style, lw=1.8, label=f"layer {layer}")
    if top is not None:
        axes.axhline(top / 2, color=theme.ink, lw=0.8, ls=(0, (2, 3)))
        axes.set_ylim(0, top)
    axes.set_xlim(0, max(steps))
    step_axis(axes)
    axes.set_ylabel(name)
    add_legend(axes, theme)
    return figure
