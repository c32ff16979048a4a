"""Where pixels go when an image is cropped (centre) and resized, as ``PIL.ImageOps.fit`` does it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]  # height and width in pixels
ROUNDING = 1e-3  # pixels that a coordinate may lie outside, as float32 has it


@dataclass(frozen=True)
class Fit:
    """Images of several sizes brought to one, in pixel coordinates where 0 is an edge of the image.

    Attributes:
        before: height and width of each image, ``[n, 2]``.
        after: height and width that all get.
    """

    before: NDArray[np.int64]
    after: Size

    def _window(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Upper left corner of what is kept, x and y ``[n, 2]``, and the factors by which it is scaled."""
        height, width = self.before[:, 0].astype(np.float64), self.before[:, 1].astype(np.float64)
        ratio = self.after[1] / self.after[0]
        kept_width, kept_height = np.minimum(width, ratio * height), np.minimum(height, width / ratio)
        corner = np.stack([(width - kept_width) / 2, (height - kept_height) / 2], axis=1)
        return corner, np.stack([self.after[1] / kept_width, self.after[0] / kept_height], axis=1)

    def points(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points ``[n, k, 2]`` in the new pixels; those that are cut away become NaN."""
        corner, scale = self._window()
        moved = (points - corner[:, None]) * scale[:, None]
        inside = (moved >= -ROUNDING) & (moved <= np.array([self.after[1], self.after[0]]) + ROUNDING)
        return np.where(inside.all(axis=-1, keepdims=True), moved, np.nan).astype(np.float32)

    def boxes(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes ``[n, m, 5]`` in the new pixels, clipped to the image.

        A box of which the crop leaves less than one pixel in width or height is dropped: what is kept comes first,
        rows of class -1 follow.
        """
        corner, scale = self._window()
        moved = (boxes[..., 1:] - np.tile(corner, 2)[:, None]) * np.tile(scale, 2)[:, None]
        clipped = np.clip(moved, 0, np.array([self.after[1], self.after[0]] * 2))
        small = ((clipped[..., 2:] - clipped[..., :2]) < 1).any(axis=-1)
        dropped = small & (np.abs(clipped - moved) > ROUNDING).any(axis=-1) & (boxes[..., 0] >= 0)
        fitted = np.concatenate([boxes[..., :1], np.where(boxes[..., :1] >= 0, clipped, boxes[..., 1:])], axis=-1)
        fitted[dropped] = (-1, 0, 0, 0, 0)
        order = np.argsort(fitted[..., 0] == -1, axis=1, kind="stable")
        return np.take_along_axis(fitted, order[..., None], axis=1).astype(np.float32)

    def outside(self, places: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Which points ``[n, k, 2]`` or boxes ``[n, k, 5]`` reach outside their image before it is cropped."""
        corners = places[..., -4:].reshape(*places.shape[:2], -1, 2)
        with np.errstate(invalid="ignore"):
            beyond = (corners < -ROUNDING) | (corners > self.before[:, None, None, ::-1] + ROUNDING)
        return np.asarray(beyond.any(axis=(2, 3)))
