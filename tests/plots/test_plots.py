"""Figures hold what they are given, in both themes."""

import io

import matplotlib.colors
import matplotlib.image
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


def test_every_run_is_a_dot_where_there_are_several():
    runs = {"ResNet": np.array([[0.4, 0.6], [0.7, 0.9], [0.9, 0.9]]), "ViT": np.array([[0.3], [0.6], [0.7]])}
    axes = plots.learning_curves(SIZES, accuracy(ends=False), plots.LIGHT, runs).axes[0]
    dots = [line.get_ydata() for line in axes.lines if line.get_marker() == "."]
    np.testing.assert_allclose(dots, [[60, 30, 10], [40, 10, 10]])


def test_learning_rates_are_lines_by_size_with_the_best_ringed():
    scores = {90: {0.01: 0.5, 0.02: 0.7, 0.04: 0.6}, 1437: {0.005: 0.8, 0.01: 0.9, 0.02: 0.7}}
    axes = plots.learning_rate_curves(scores, "ViT", plots.DARK).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    np.testing.assert_allclose(lines["90"].get_ydata(), [50, 70, 60])
    rings = [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines if len(line.get_xdata()) == 1
    ]
    assert rings == [(0.02, pytest.approx(70)), (0.01, pytest.approx(90))]
    assert "ViT" in axes.get_xlabel()
    assert "1,437" in lines


def test_equivalence_bars_say_factor_and_bound():
    factors = {"ResNet": (7.0, 5.2, 7.0, "at least 5.2×"), "ConViT": (1.4, 1.1, 1.9, "1.4×")}
    axes = plots.equivalence_bars(factors, ["ResNet", "ConViT", "ViT"], "ViT", plots.DARK).axes[0]
    assert [text.get_text() for text in axes.texts] == ["at least 5.2×", "1.4×"]
    assert [line.get_marker() for line in axes.lines].count(">") == 1  # an arrow on the bound
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ResNet", "ConViT"]
    assert "ViT" in axes.get_xlabel()
    unbounded = plots.equivalence_bars({"ConViT": (1.4, 1.1, np.inf, "1.4×")}, ["ConViT"], "ViT", plots.DARK).axes[0]
    assert 1.4 < unbounded.get_xlim()[1] < 2


def test_gates_are_drawn_by_layer():
    gates = np.random.default_rng(0).random((4, 3, 5))  # steps, layers, heads
    axes = plots.gate_curves([0, 10, 20, 30], gates, plots.LIGHT).axes[0]
    for layer in range(3):
        np.testing.assert_allclose(axes.lines[layer].get_ydata(), gates[:, layer].mean(axis=1))


def test_readings_over_training_name_their_layers():
    values = np.random.default_rng(0).random((3, 2, 4))
    axes = plots.over_training([0, 5, 9], values, [2, 5], "px", plots.LIGHT).axes[0]
    assert [line.get_label() for line in axes.lines] == ["layer 2", "layer 5"]
    assert axes.get_ylabel() == "px"
    axes = plots.over_training([0, 5, 9], values, [2, 5], "share", plots.LIGHT, top=2.0).axes[0]
    assert axes.get_ylim() == (0, 2)
    np.testing.assert_array_equal(axes.lines[2].get_ydata(), [1, 1])  # the middle of the axis


def test_svg_is_the_same_twice_and_png_is_one():
    first, second = (plots.to_svg(plots.learning_curves(SIZES, accuracy(), plots.LIGHT)) for _ in range(2))
    assert first == second
    assert first.startswith("<svg")
    assert plots.to_png(plots.learning_curves(SIZES, accuracy(), plots.LIGHT)).startswith(b"\x89PNG")
    one, other = (plots.to_pdf(plots.learning_curves(SIZES, accuracy(), plots.LIGHT)) for _ in range(2))
    assert one == other
    assert one.startswith(b"%PDF")


@pytest.mark.parametrize("theme", plots.THEMES, ids=lambda theme: theme.name)
def test_delta_forest_says_every_number(theme):
    rows = [
        ("ResNet", "sum", np.array([-1.25, -2.0, 0.5])),
        ("ResNet", "PCGrad", np.array([0.4, np.nan, np.nan])),
        ("ViT", "sum", np.array([2.0, 1.0, 3.0])),
    ]
    axes = plots.delta_forest(rows, theme).axes[0]
    assert [text.get_text() for text in axes.texts] == ["−1.2 %", "+0.4 %", "+2.0 %"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ResNet · sum", "ResNet · PCGrad", "ViT · sum"]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([line.get_xdata()[0] for line in points], [-1.25, 0.4, 2.0])
    assert [line.get_color() for line in points] == [theme.series[0], theme.series[0], theme.series[1]]
    assert len(axes.lines) == 3 + 2 + 1  # points, two intervals, the line at 0


def test_curves_stand_apart_from_the_one_they_are_compared_with():
    lines = {"sum": ([1, 2, 3], np.array([3.0, 2.0, np.nan])), "alone": ([1, 2, 3], np.array([3.0, 1.5, 1.0]))}
    axes = plots.curves(lines, "label", "loss", plots.LIGHT, alone="alone").axes[0]
    joint, alone = axes.lines
    assert (joint.get_color(), alone.get_color()) == (plots.LIGHT.series[0], plots.LIGHT.series[5])
    assert joint.get_linestyle() == "-"
    assert alone.get_linestyle() == "--"
    np.testing.assert_array_equal(joint.get_ydata(), [3.0, 2.0, np.nan])
    assert axes.get_legend() is None
    assert plots.curves(lines, "", "weight", plots.LIGHT, legend=True).axes[0].get_legend() is not None


@pytest.mark.parametrize("theme", plots.THEMES, ids=lambda theme: theme.name)
def test_conflict_map_is_centred_at_zero_and_legible(theme):
    cosines = np.array([[-0.27, 0.0], [0.1, np.nan], [0.05, 0.3]])
    figure = plots.conflict_map(cosines, ["a · b", "a · c", "b · c"], ["stem", "norm"], theme)
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == ["−.27", ".00", "+.10", "·", "+.05", "+.30"]
    cells = axes.collections[0]
    assert cells.get_clim() == pytest.approx((-0.3, 0.3))
    at_zero = cells.cmap(cells.norm(0.0))[:3]
    np.testing.assert_allclose(at_zero, matplotlib.colors.to_rgb(theme.background), atol=0.02)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["stem", "norm"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first pair on top
    first, second = (plots.to_svg(plots.conflict_map(cosines, ["x", "y", "z"], ["s", "n"], theme)) for _ in range(2))
    assert first == second


def test_conflict_course_is_a_mean_over_the_pairs_that_met():
    course = np.array([[0.2, np.nan], [0.4, -0.2], [0.0, 0.3]])
    axes = plots.conflict_course([10, 20, 30], {"sum": course}, plots.LIGHT).axes[0]
    np.testing.assert_allclose(axes.lines[2].get_ydata(), [0.2, 0.1, 0.15])  # after a thin line for each pair
    low, high = axes.get_ylim()
    assert low == pytest.approx(-high)


def test_pictures_are_enlarged_without_blur():
    image = np.arange(3 * 2 * 5, dtype=np.uint8).reshape(3, 2, 5)
    rgb = plots.to_rgb(image)
    np.testing.assert_array_equal(rgb[1, 4], image[:, 1, 4])
    grey = plots.to_rgb(np.array([[[10, 20]], [[30, 60]]], np.uint8))
    np.testing.assert_array_equal(grey, [[[20] * 3, [40] * 3]])
    large = plots.enlarged(rgb, 12)
    assert large.shape == (6, 15, 3)
    np.testing.assert_array_equal(large[1::3, 1::3], rgb)
    assert plots.enlarged(rgb, 4).shape == rgb.shape


def test_masks_are_laid_over_what_they_cover():
    colours = plots.class_colours(23)
    assert len({tuple(colour) for colour in colours.tolist()}) == 23
    pixels = np.full((4, 6, 3), 100, np.uint8)
    mask = np.array([[0, 1, 255], [2, 1, 0]])  # half the size of the image
    laid = plots.with_mask(pixels, mask, colours, clear=0, share=0.5)
    assert laid[0, 0].tolist() == [100, 100, 100]  # clear
    assert laid[1, 5].tolist() == [100, 100, 100]  # without a label
    for (row, column), k in {(1, 3): 1, (2, 0): 2, (3, 2): 1}.items():
        np.testing.assert_allclose(laid[row, column], (100.0 + colours[k]) / 2, atol=0.51)
    assert plots.with_mask(pixels, mask, colours)[0, 0].tolist() == colours[0].tolist()


def test_png_reads_back():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    read = matplotlib.image.imread(io.BytesIO(plots.encode_png(pixels)), format="png")
    np.testing.assert_array_equal(np.round(255 * read[..., :3]), pixels)


@pytest.mark.parametrize("theme", plots.THEMES, ids=lambda theme: theme.name)
def test_effect_bars_say_every_number_in_the_colour_of_its_sign(theme):
    rows = [
        ("mirroring", np.array([1.256, 0.9, 1.5]), np.array([0.9, 1.3, 1.5]), 1),
        ("smoothing", np.array([0.1, -0.2, 0.3]), np.array([-0.2, 0.4, 0.1]), 0),
        ("EMA", np.array([-0.4, np.nan, np.nan]), np.array([-0.3, -0.5]), -1),
    ]
    axes = plots.effect_bars(rows, theme).axes[0]
    assert [text.get_text() for text in axes.texts] == ["+1.26", "+0.10", "−0.40"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["mirroring", "smoothing", "EMA"]
    points = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([line.get_xdata()[0] for line in points], [1.256, 0.1, -0.4])
    assert [line.get_color() for line in points] == [theme.series[0], theme.series[5], theme.series[1]]
    ticks = [line for line in axes.lines if line.get_marker() == "|"]
    np.testing.assert_allclose(
        np.concatenate([line.get_xdata() for line in ticks]), [0.9, 1.3, 1.5, -0.2, 0.4, 0.1, -0.3, -0.5]
    )
    low, high = axes.get_xlim()
    assert low < -0.5 < 1.5 < high
    assert len(axes.lines) == 3 * 3 + 2 + 1  # bar, ticks and point; two intervals; the line at 0


@pytest.mark.parametrize("theme", plots.THEMES, ids=lambda theme: theme.name)
def test_ten_models_are_told_apart(theme):
    mean = np.array([0.5, 0.8, 0.9])
    models = {f"model {index}": np.stack([mean - 0.01 * index] * 3, axis=1) for index in range(10)}
    lines = plots.learning_curves(SIZES, models, theme).axes[0].lines
    looks = {(line.get_color(), line.get_marker(), line.get_linestyle(), line.get_mfc()) for line in lines}
    assert len(looks) == 10
    assert {line.get_linestyle() for line in lines[:6]} == {"-"}
    assert {line.get_linestyle() for line in lines[6:]} == {"--"}


@pytest.mark.parametrize(("low", "high"), [(0.30, 0.42), (0.05, 0.9), (0.61, 0.62)])
def test_the_error_axis_is_labelled_however_narrow(low, high):
    values = np.linspace(low, high, 3)
    axes = plots.learning_curves(SIZES, {"ViT": np.stack([values] * 3, axis=1)}, plots.LIGHT).axes[0]
    bottom, top = axes.get_ylim()
    ticks = [value for value in axes.get_yticks() if bottom <= value <= top]
    assert 2 <= len(ticks) <= 12
    assert len({axes.yaxis.get_major_formatter()(value) for value in ticks}) == len(ticks)


@pytest.mark.parametrize("theme", plots.THEMES, ids=lambda theme: theme.name)
def test_every_head_is_a_point_in_its_layer(theme):
    values = np.array([[1.0, 3.0, 2.0], [np.nan] * 3, [4.0, 5.0, 6.0]])  # the second layer has no such reading
    axes = plots.by_layer(values, "px", theme, reference=np.array([6.0] * 3), called="uniform").axes[0]
    mean, *heads, reference = axes.lines
    np.testing.assert_allclose(mean.get_ydata(), [2.0, np.nan, 5.0])
    for index, head in enumerate(heads):
        np.testing.assert_allclose(head.get_xdata(), [1, 2, 3])
        np.testing.assert_allclose(head.get_ydata(), values[:, index])
    np.testing.assert_allclose(reference.get_ydata(), [6] * 5)
    assert axes.get_ylabel() == "px"
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > 6


@pytest.mark.parametrize("layers", [1, 2, 3, 12, 24])
def test_layers_are_whole_numbers(layers):
    values = np.arange(1.0, 2 * layers + 1).reshape(layers, 2)
    axes = plots.by_layer(values, "px", plots.THEMES[0], reference=np.full(layers, 3.0), called="uniform").axes[0]
    low, high = axes.get_xlim()
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    assert ticks
    assert all(tick == round(tick) and 1 <= tick <= layers for tick in ticks)
    reference = axes.lines[-1]
    assert np.ptp(reference.get_xdata()) > 0.7  # a line even where there is one layer


def test_heat_goes_from_black_to_the_largest():
    colours = plots.heat(np.array([[0.0, 0.1], [0.2, 0.4]])).astype(int)
    assert colours.shape == (2, 2, 3)
    brightness = colours.sum(axis=2)
    assert brightness[0, 0] < 10
    assert brightness[0, 0] < brightness[0, 1] < brightness[1, 0] < brightness[1, 1]
    assert (plots.heat(np.zeros((2, 3))) < 10).all()
