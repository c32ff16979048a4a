"""Images in memory at another size, with the targets that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.file_images import pixels
from hybridvit.data.samples import Column, Samples, Splits


def resized(splits: Splits, image_size: int | tuple[int, int] | None) -> Splits:
    """The same splits with all views at another size in pixels (bicubic, antialiased; masks by their nearest pixel)."""
    if image_size is None:
        return splits
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if all(shape[1:] == size for shape in splits.shapes.values()):
        return splits
    return splits.map(lambda samples: _resized(samples, splits.columns, size))


def _resized(samples: Samples, columns: Mapping[str, Column], size: tuple[int, int]) -> Samples:
    before = next(iter(samples.views.values())).shape[-2:]
    scale = (size[0] / before[0], size[1] / before[1])
    return replace(
        samples,
        views={view: _images(pixels(images), size) for view, images in samples.views.items()},
        targets={name: _target(values, columns[name], size, scale) for name, values in samples.targets.items()},
    )


def _images(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    if not len(images):
        return np.zeros((0, images.shape[1], *size), np.uint8)
    import torch
    from torchvision.transforms.v2 import functional

    bicubic = functional.InterpolationMode.BICUBIC
    done: NDArray[np.uint8] = functional.resize(torch.from_numpy(images), list(size), interpolation=bicubic).numpy()
    return done


def _target(values: NDArray[Any], column: Column, size: tuple[int, int], scale: tuple[float, float]) -> NDArray[Any]:
    if column.kind == "mask":
        rows = np.minimum(((np.arange(size[0]) + 0.5) / scale[0]).astype(np.int64), values.shape[1] - 1)
        cells = np.minimum(((np.arange(size[1]) + 0.5) / scale[1]).astype(np.int64), values.shape[2] - 1)
        return values[:, rows[:, None], cells]
    if column.kind == "points":
        return (values * np.array([scale[1], scale[0]])).astype(values.dtype)
    if column.kind == "boxes":
        return (values * np.array([1.0, scale[1], scale[0], scale[1], scale[0]])).astype(values.dtype)
    return values
