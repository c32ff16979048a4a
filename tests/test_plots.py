"""Figures hold what they are given, in both themes."""

import numpy as np
import pytest

from hybridvit import plots

SIZES = np.array([30.0, 110.0, 700.0])


def accuracy(ends=True):
    mean = np.array([0.5, 0.8, 0.9])
    spread = 0.05 if ends else np.nan
    return {"ResNet": np.stack([mean, mean - spread, mean + spread], axis=1), "ViT": np.stack([mean - 0.2] * 3, axis=1)}


@pytest.mark.parametrize("theme", plots.THEMES, ids=lambda theme: theme.name)
@pytest.mark.parametrize("ends", [True, False])
def test_learning_curves_draw_the_errors(theme, ends):
    axes = plots.learning_curves(SIZES, accuracy(ends), theme).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["ResNet"].get_ydata(), [50, 20, 10])
    np.testing.assert_allclose(lines["ViT"].get_xdata(), SIZES)
    assert lines["ResNet"].get_color() == theme.series[0]
    assert axes.get_xlabel() == "training images"


def test_an_error_of_zero_is_drawn_on_the_log_axis():
    perfect = {"ResNet": np.array([[0.9, 0.8, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]])}
    drawn = plots.learning_curves(SIZES, perfect, plots.LIGHT).axes[0].lines[0].get_ydata()
    assert drawn[0] == pytest.approx(10)
    assert np.all(drawn > 0)


def test_equivalence_bars_say_factor_and_bound():
    factors = {"ResNet": (7.0, np.nan, np.nan, True), "ConViT": (1.4, 1.1, 1.9, False)}
    axes = plots.equivalence_bars(factors, ["ResNet", "ConViT", "ViT"], "ViT", plots.DARK).axes[0]
    assert [text.get_text() for text in axes.texts] == ["≥ 7.0×", "1.4×"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ResNet", "ConViT"]
    assert "ViT" in axes.get_xlabel()


def test_gates_are_drawn_by_layer():
    gates = np.random.default_rng(0).random((4, 3, 5))  # steps, layers, heads
    axes = plots.gate_curves([0, 10, 20, 30], gates, plots.LIGHT).axes[0]
    for layer in range(3):
        np.testing.assert_allclose(axes.lines[layer].get_ydata(), gates[:, layer].mean(axis=1))


def test_svg_is_the_same_twice_and_png_is_one():
    first, second = (plots.to_svg(plots.learning_curves(SIZES, accuracy(), plots.LIGHT)) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    assert plots.to_png(plots.learning_curves(SIZES, accuracy(), plots.LIGHT)).startswith(b"\x89PNG")
