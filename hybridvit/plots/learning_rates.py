"""Figure of the learning rates that a study tried."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from hybridvit.plots.theme import Theme, add_legend, framed, plain_ticks


def learning_rate_curves(scores: Mapping[str, Mapping[int, Mapping[float, float]]], theme: Theme) -> Figure:
    """Validation accuracy by learning rate: a panel for each model, a line for each training size.

    Args:
        scores: model -> training size -> learning rate -> validation accuracy in [0, 1]; the best is marked.
        theme: colours.
    """
    raise NotImplementedError
