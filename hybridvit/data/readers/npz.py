"""One .npz file in the MedMNIST layout: train_images, train_labels, and the same for val and test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.samples import ONE_VIEW, Column, Samples, Splits

PREFIXES = ("train", "val", "test")  # of the arrays of each split


def read_npz(path: Path) -> Splits:
    """Reads the file without unpickling anything.

    Images are uint8 ``[n, h, w]`` or ``[n, h, w, c]``; labels whole numbers from 0, ``[n]`` or ``[n, 1]``,
    or -1 for none. ``class_names`` is used where the file has it.

    Raises:
        ValueError: naming the array that is missing or of the wrong kind.
    """
    arrays = read_arrays(path, ("train_images",))
    train, validation, test = splits = [_samples(path, arrays, prefix) for prefix in PREFIXES]
    filled = [samples for samples in splits if len(samples)]
    shapes = {samples.views[ONE_VIEW].shape[1:] for samples in filled}
    if len(shapes) > 1:
        raise ValueError(f"{path}: train, val and test images differ in shape [c, h, w]: {sorted(shapes)}")
    if not len(train):
        raise ValueError(f"{path}: train_images is empty")
    labels = [samples.targets["label"] for samples in filled]
    classes = int(max(values.max() for values in labels)) + 1
    names = tuple(str(name) for name in arrays.get("class_names", range(classes)))
    if len(names) < classes:
        raise ValueError(f"{path}: class_names has {len(names)} names, but labels go up to {classes - 1}")
    for index in np.flatnonzero(np.bincount(labels[0][labels[0] >= 0], minlength=len(names)) == 0):
        raise ValueError(f"{path}: class {names[index]!r} has no image in train_images")
    return Splits(path.stem, {"label": Column("class", names)}, train, validation, test)


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


def _samples(path: Path, arrays: dict[str, NDArray[np.generic]], name: str) -> Samples:
    images, labels = arrays.get(f"{name}_images"), arrays.get(f"{name}_labels")
    if images is None:
        c, h, w = _channels_first(path, "train", arrays["train_images"]).shape[1:]
        return Samples({ONE_VIEW: np.zeros((0, c, h, w), np.uint8)}, {"label": np.zeros(0, np.int64)})
    if labels is None:
        raise ValueError(f"{path} has {name}_images but no {name}_labels")
    pixels = _channels_first(path, name, images)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{path}: {name}_labels must be whole numbers [n] or [n, 1], given {labels.dtype} {list(labels.shape)}"
        )
    if len(pixels) != len(labels):
        raise ValueError(f"{path}: {len(pixels)} {name}_images but {len(labels)} {name}_labels")
    classes = labels.astype(np.int64)
    if len(classes) and classes.min() < -1:
        raise ValueError(f"{path}: {name}_labels go from 0, or -1 for none, given {classes.min()}")
    return Samples({ONE_VIEW: pixels}, {"label": classes})


def _channels_first(path: Path, name: str, images: NDArray[np.generic]) -> NDArray[np.uint8]:
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(
            f"{path}: {name}_images must be uint8 [n, h, w] or [n, h, w, c], given {images.dtype} {list(images.shape)}"
        )
    pixels = images.astype(np.uint8, copy=False)
    return pixels[:, None] if pixels.ndim == 3 else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
