"""Figures of GPSA's gates."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from hybridvit.plots.theme import Array, Theme, add_legend, framed


def gate_curves(steps: Sequence[int], gates: Array, theme: Theme) -> Figure:
    """σ(λ) of every layer over training: the mean of its heads as a line, their range as a band.

    Args:
        steps: logged steps ``[t]``.
        gates: ``[t, layers, heads]``.
        theme: colours.
    """
    figure, axes = framed(theme)
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
    add_legend(axes, theme)
    return figure
