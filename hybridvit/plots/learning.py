"""Figures of learning curves: error by images, and how many images an assumption is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hybridvit.plots.theme import Array, Theme, add_legend, framed, plain_ticks, round_values, series_style


def learning_curves(sizes: Array, accuracy: Mapping[str, Array], theme: Theme) -> Figure:
    """Test error in % against training images, both on log axes, with intervals.

    Args:
        sizes: training sizes ``[k]``.
        accuracy: model -> mean accuracy and the ends of its interval, ``[k, 3]`` in [0, 1]; NaN ends: none.
        theme: colours.
    """
    figure, axes = framed(theme)
    errors = {model: 100 * (1 - values) for model, values in accuracy.items()}
    means = np.concatenate([error[:, 0] for error in errors.values()])
    floor = max(means[means > 0].min(initial=100.0), 0.05) / 1.5  # where an error of 0 is drawn
    for index, (model, error) in enumerate(errors.items()):
        style = series_style(index, theme)
        mean, top, bottom = np.maximum(error, floor).T
        axes.plot(sizes, mean, **style, ms=5, lw=1.8, label=model)
        axes.fill_between(sizes, bottom, top, color=style["color"], alpha=0.16, lw=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes.xaxis, sizes)
    plain_ticks(axes.yaxis, round_values(axes.get_ylim()))
    axes.set_xlabel("training images")
    axes.set_ylabel("test error, %")
    add_legend(axes, theme)
    return figure


def equivalence_bars(
    factors: Mapping[str, tuple[float, float, float, bool]], models: Sequence[str], reference: str, theme: Theme
) -> Figure:
    """How many times more images the reference needs for the same error.

    Args:
        factors: model -> factor, lower end, upper end, and whether the factor is only a bound.
        models: all models, in the order of the learning curves, which gives the colours.
        reference: name of the reference.
        theme: colours.
    """
    figure, axes = framed(theme, height=1.3 + 0.5 * len(factors))
    highest = max([f for f, *_ in factors.values()] + [h for _, _, h, _ in factors.values() if np.isfinite(h)])
    lowest = min(
        [1.0] + [f for f, *_ in factors.values()] + [low for _, low, _, _ in factors.values() if np.isfinite(low)]
    )
    for row, (model, (factor, low, high, bounded)) in enumerate(factors.items()):
        colour = theme.series[models.index(model) % len(theme.series)]
        axes.plot([1, factor], [row, row], color=colour, lw=9, alpha=0.35, solid_capstyle="butt")
        if np.isfinite(low):
            axes.plot([low, high], [row, row], color=colour, lw=2)
        axes.plot([factor], [row], color=colour, marker="o", ms=7)
        end = max(factor, high if np.isfinite(high) else factor, 1.0)
        axes.annotate(
            f"{'≥ ' if bounded and factor > 1 else '≤ ' if bounded else ''}{factor:.1f}×",
            (end, row), xytext=(8, 0), textcoords="offset points", va="center", color=theme.ink, weight="bold",
        )  # fmt: skip
    axes.axvline(1, color=theme.ink, lw=1)
    axes.set_xscale("log")
    axes.set_xlim(lowest / 1.15, highest * 1.6)
    plain_ticks(axes.xaxis, round_values(axes.get_xlim()))
    axes.set_yticks(range(len(factors)), list(factors))
    axes.set_ylim(len(factors) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(f"times the images that the {reference} needs for the same error")
    return figure
