"""Curves: how each task learns over training, and the error by the number of training images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from hybridvit.plots.theme import (
    Array,
    Theme,
    add_legend,
    framed,
    marked_style,
    plain_ticks,
    series_style,
    step_axis,
)

Line = tuple[Sequence[int], Array]  # steps [t] and values [t]
PANEL = (4.0, 2.5)  # inches


def learning_curves(
    sizes: Array, accuracy: Mapping[str, Array], theme: Theme, runs: Mapping[str, Array] | None = None
) -> Figure:
    """Test error in % against training images, both on log axes: means with intervals, and every run.

    Args:
        sizes: training sizes ``[k]``.
        accuracy: model -> mean accuracy and the ends of its interval, ``[k, 3]`` in [0, 1]; NaN ends: none.
        theme: colours.
        runs: model -> accuracy of each seed, ``[k, seeds]``, drawn as dots where there are several; None: not drawn.
    """
    figure, axes = framed(theme)
    errors = {model: 100 * (1 - values) for model, values in accuracy.items()}
    means = np.concatenate([error[:, 0] for error in errors.values()])
    floor = max(means[means > 0].min(initial=100.0), 0.05) / 1.5  # where an error of 0 is drawn
    for index, (model, error) in enumerate(errors.items()):
        style = marked_style(index, theme)
        mean, top, bottom = np.maximum(error, floor).T
        axes.plot(sizes, mean, **style, ms=5, lw=1.8, label=model)
        axes.fill_between(sizes, bottom, top, color=style["color"], alpha=0.16, lw=0)
        if runs is not None and runs[model].shape[1] > 1:
            each = np.maximum(100 * (1 - runs[model]), floor)
            axes.plot(sizes, each, ls="none", marker=".", ms=3, mew=0, color=style["color"], alpha=0.5)
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain_ticks(axes.xaxis, sizes)
    plain_ticks(axes.yaxis)
    axes.set_xlabel("training images")
    axes.set_ylabel("test error, %")
    add_legend(axes, theme)
    return figure


def learning_rate_curves(scores: Mapping[int, Mapping[float, float]], model: str, theme: Theme) -> Figure:
    """Validation accuracy in % by learning rate, a line for each training size; the best of each is ringed.

    Args:
        scores: training size -> learning rate -> validation accuracy in [0, 1].
        model: name of the model.
        theme: colours.
    """
    figure, axes = framed(theme, 2.7, 4.0)
    for index, (size, by_rate) in enumerate(scores.items()):
        style = marked_style(index, theme)
        rates, values = list(by_rate), [100 * value for value in by_rate.values()]
        axes.plot(rates, values, **style, ms=4, lw=1.5, label=f"{size:,}")
        best = int(np.argmax(values))
        axes.plot(rates[best], values[best], "o", ms=10, mfc="none", mec=style["color"], mew=1.4)
    tried = sorted({rate for by_rate in scores.values() for rate in by_rate})
    axes.set_xscale("log")
    plain_ticks(axes.xaxis, tried[:: 1 + len(tried) // 7])
    axes.set_xlabel(f"learning rate of the {model}")
    axes.set_ylabel("validation accuracy, %")
    add_legend(axes, theme)
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
    others = [name for name in lines if name != alone]
    for name, (steps, values) in lines.items():
        marker = "o" if len(steps) < 3 else ""
        if name == alone:
            axes.plot(steps, values, color=theme.series[5], lw=1.6, ls=(0, (3, 2)), marker=marker, ms=4, label=name)
        else:
            style = series_style(others.index(name), theme, 5 if alone else 6)
            axes.plot(steps, values, **style, lw=1.8, marker=marker, ms=4, label=name)
    everything = np.concatenate([values for _, values in lines.values()])
    known = everything[np.isfinite(everything)]
    if ylabel.startswith("loss") and known.size and known.min() > 0 and known.max() / known.min() > 30:
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
    if title:
        axes.set_title(title, color=theme.ink, loc="left", fontsize=10, weight="bold")
    if legend:
        add_legend(axes, theme)
    step_axis(axes)
    axes.set_ylabel(ylabel)
    return figure
