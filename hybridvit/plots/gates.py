"""Figures of readings over training."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from hybridvit.plots.theme import Array, Theme, add_legend, framed


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
        colour = theme.series[index % len(theme.series)]
        heads = values[:, index]
        axes.fill_between(steps, heads.min(axis=1), heads.max(axis=1), color=colour, alpha=0.16, lw=0)
        axes.plot(steps, heads.mean(axis=1), color=colour, lw=1.8, label=f"layer {layer}")
    if top is not None:
        axes.axhline(top / 2, color=theme.ink, lw=0.8, ls=(0, (2, 3)))
        axes.set_ylim(0, top)
    axes.set_xlim(0, max(steps))
    axes.set_xlabel("training steps")
    axes.set_ylabel(name)
    add_legend(axes, theme)
    return figure
