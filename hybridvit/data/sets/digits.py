"""scikit-learn's 1,797 digits with targets of every kind, all computed from the images or from the digit itself."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.samples import ONE_VIEW, Column, Samples, Splits

DIGITS = tuple("0123456789")
LOOPS = (1, 0, 0, 0, 0, 0, 1, 0, 2, 1)  # closed loops of 0 .. 9; a handwritten 4 is open
BRIGHTEST = 16  # of the pixels as scikit-learn has them
INK = 8  # from this on a pixel is ink

COLUMNS = {
    "label": Column("class", DIGITS),
    "even": Column("class", ("odd", "even")),
    "loops": Column("class", ("0", "1", "2")),
    "ink": Column("numbers", ("ink",)),
    "slant": Column("numbers", ("slant",)),
    "centre": Column("points", ("centre",)),
    "strokes": Column("mask", ("background", "ink")),
    "box": Column("boxes", DIGITS),
}


@cache
def read_digits() -> Splits:
    """All digits as training samples, ``[n, 1, 8, 8]``, with these columns:

    label: the digit; even: odd or even; loops: closed loops of the digit's shape.

    ink: mean brightness, between 0 and 1.

    slant: how far the strokes lean to the right, in degrees between -90 and 90: the angle from the vertical of the line
    that predicts x from y, tan = -mu11 / mu02 of the ink's central moments. It is the shear that deskewing takes out;
    unlike the angle of the principal axis it neither wraps around nor is undefined for round digits.

    centre: centre of mass of the ink. strokes: pixels of at least half the full brightness. box: the box around these,
    with the digit as its class.
    """
    from sklearn.datasets import load_digits  # takes a second to import

    digits = load_digits()
    images = np.round(digits.images * (255 / BRIGHTEST)).astype(np.uint8)[:, None]
    ink, label = digits.images.astype(np.float64), digits.target.astype(np.int64)
    strokes = (ink >= INK).astype(np.uint8)
    centre = _centre(ink)
    targets: dict[str, NDArray[Any]] = {
        "label": label,
        "even": 1 - label % 2,
        "loops": np.array(LOOPS)[label],
        "ink": (ink.mean(axis=(1, 2)) / BRIGHTEST)[:, None].astype(np.float32),
        "slant": _slant(ink, centre)[:, None].astype(np.float32),
        "centre": centre[:, None].astype(np.float32),
        "strokes": strokes,
        "box": np.concatenate([label[:, None], _box(strokes)], axis=1)[:, None].astype(np.float32),
    }
    everything = Samples({ONE_VIEW: images}, targets)
    return Splits("digits", COLUMNS, everything, everything[:0], everything[:0])


def _centre(ink: NDArray[np.float64]) -> NDArray[np.float64]:
    """x and y in pixels ``[n, 2]``; the centre of the first pixel is at 0.5."""
    mass = ink.sum(axis=(1, 2))
    x = ink.sum(axis=1) @ (np.arange(ink.shape[2]) + 0.5) / mass
    y = ink.sum(axis=2) @ (np.arange(ink.shape[1]) + 0.5) / mass
    return np.stack([x, y], axis=1)


def _slant(ink: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Degrees ``[n]``."""
    x = (np.arange(ink.shape[2]) + 0.5)[None, None] - centre[:, 0, None, None]
    y = (np.arange(ink.shape[1]) + 0.5)[None, :, None] - centre[:, 1, None, None]
    together, vertical = (ink * x * y).sum(axis=(1, 2)), (ink * y * y).sum(axis=(1, 2))
    angle: NDArray[np.float64] = np.degrees(np.arctan2(-together, vertical))  # y points down
    return angle


def _box(strokes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """x1, y1, x2, y2 of the pixels that are not 0, ``[n, 4]``."""
    from scipy.ndimage import find_objects

    places = [find_objects(image)[0] for image in strokes]
    return np.array([(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in places])
