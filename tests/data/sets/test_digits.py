"""Targets of the digits against scipy, numpy's least squares and scikit-learn's own arrays."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.datasets import load_digits

from hybridvit.data.samples import labelled
from hybridvit.data.sets.digits import read_digits

DIGITS = load_digits()
SOME = range(0, 1797, 37)


@pytest.fixture(scope="module")
def digits():
    return read_digits()


def test_images_and_kinds(digits):
    assert len(digits.train) == 1797
    assert not len(digits.validation)
    assert not len(digits.test)
    images = digits.train.views["image"]
    assert images.dtype == np.uint8
    assert np.array_equal(images[:, 0], np.round(DIGITS.images * (255 / 16)))
    assert {column.kind for column in digits.columns.values()} == {"class", "numbers", "points", "mask", "boxes"}
    assert set(digits.columns) == set(digits.train.targets) == set(digits.test.targets)
    for name, column in digits.columns.items():
        assert labelled(column.kind, digits.train.targets[name]).all(), name


def test_classes(digits):
    targets, columns = digits.train.targets, digits.columns
    for index in SOME:
        digit = DIGITS.target[index]
        assert columns["label"].names[targets["label"][index]] == str(digit)
        assert columns["even"].names[targets["even"][index]] == ("odd" if digit % 2 else "even")
        assert columns["loops"].names[targets["loops"][index]] == {0: "1", 6: "1", 8: "2", 9: "1"}.get(digit, "0")


def test_numbers_points_masks_and_boxes(digits):
    targets = digits.train.targets
    for index in SOME:
        ink = DIGITS.images[index]
        assert targets["ink"][index, 0] == pytest.approx(ink.mean() / 16)
        y, x = ndimage.center_of_mass(ink)
        np.testing.assert_allclose(targets["centre"][index, 0], [x + 0.5, y + 0.5], rtol=1e-5)
        assert np.array_equal(targets["strokes"][index], ink > 7)
        rows, columns = ndimage.find_objects((ink > 7).astype(int))[0]
        box = [DIGITS.target[index], columns.start, rows.start, columns.stop, rows.stop]
        assert targets["box"][index].tolist() == [box]


def test_slant_is_the_slope_of_a_weighted_line(digits):
    for index in SOME:
        ink = DIGITS.images[index]
        y, x = np.nonzero(ink)
        slope = np.polyfit(y, x, 1, w=np.sqrt(ink[y, x]))[0]
        assert digits.train.targets["slant"][index, 0] == pytest.approx(-np.degrees(np.arctan(slope)), abs=1e-3)
