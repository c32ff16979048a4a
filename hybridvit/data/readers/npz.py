"""One .npz file in the MedMNIST layout: train_images, train_labels, and the same for val and test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.array_images import naming
from hybridvit.data.from_arrays import Pair, splits_of
from hybridvit.data.samples import SPLITS, Column, Splits

PREFIXES = ("train", "val", "test")  # of the arrays of each split


def read_npz(path: Path) -> Splits:
    """Reads the file without unpickling anything.

    Images are uint8 ``[n, h, w]`` or ``[n, h, w, c]``; labels whole numbers from 0, ``[n]`` or ``[n, 1]``,
    or -1 for none. ``class_names`` is used where the file has it.

    Raises:
        ValueError: naming the array that is missing or of the wrong kind.
    """
    arrays = read_arrays(path, ("train_images",))
    with naming(str(path)):
        pairs = {
            split: _pair(arrays, prefix)
            for split, prefix in zip(SPLITS, PREFIXES, strict=True)
            if f"{prefix}_images" in arrays
        }
        classes = 1 + max(int(targets["label"].max(initial=-1)) for _, targets in pairs.values())
        names = tuple(str(name) for name in arrays.get("class_names", range(classes)))
        splits = splits_of(path.stem, pairs, {"label": Column("class", names)})
        train = splits.train.targets["label"]
        for index in np.flatnonzero(np.bincount(train[train >= 0], minlength=len(names)) == 0):
            raise ValueError(f"class {names[index]!r} has no image in train_images")
    return splits


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Arrays of an .npz file, those of ``names`` at least, without unpickling anything.

    Raises:
        ValueError: the file cannot be read, or lacks one.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # also TypeError (one .npy array), zlib.error, NotImplementedError (other zip kinds)
        raise ValueError(f"{path} cannot be read as .npz: {error}") from error
    for name in names:
        if name not in arrays:
            raise ValueError(f"{path} has no array {name}; it has {', '.join(sorted(arrays)) or 'none'}")
    return arrays


def _pair(arrays: dict[str, NDArray[np.generic]], name: str) -> Pair:
    """Images ``[n, c, h, w]`` and labels ``[n]`` of a split."""
    if f"{name}_labels" not in arrays:
        raise ValueError(f"there are {name}_images but no {name}_labels")
    images, labels = arrays[f"{name}_images"], arrays[f"{name}_labels"]
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        given = f"{images.dtype} {list(images.shape)}"
        raise ValueError(f"{name}_images must be uint8 [n, h, w] or [n, h, w, c], given {given}")
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        given = f"{labels.dtype} {list(labels.shape)}"
        raise ValueError(f"{name}_labels must be whole numbers [n] or [n, 1], given {given}")
    pixels = images.astype(np.uint8, copy=False)
    channels_first = pixels[:, None] if pixels.ndim == 3 else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return channels_first, {"label": labels.astype(np.int64)}
