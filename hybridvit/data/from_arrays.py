"""Splits from images and targets in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.config import nearest
from hybridvit.data.array_images import as_images, naming, shape_text
from hybridvit.data.array_targets import as_values, encode_values
from hybridvit.data.samples import ONE_VIEW, SPLITS, Column, Samples, Splits, labelled
from hybridvit.data.subset import set_apart

Pair = tuple[NDArray[np.uint8], Mapping[str, Any]]  # images [n, c, h, w], and target column -> n targets


def from_arrays(
    images: Any, targets: Any, validation: Any, test: Any, columns: Mapping[str, Column] | None, seed: int, name: str
) -> Splits:
    """Splits of arrays; arguments as for :meth:`Splits.from_arrays`."""
    pairs = {"train": _pair("train", images, targets)}
    shares: dict[str, float] = {}
    for split, given in (("validation", validation), ("test", test)):
        if isinstance(given, tuple) and len(given) == 2:
            pairs[split] = _pair(split, *given)
        elif given is None or (isinstance(given, int | float) and 0 <= given < 1):
            shares[split] = float(given or 0)
        else:
            raise ValueError(f"{split} must be a share in [0, 1) or a pair (images, targets), given {given!r:.60}")
    splits = splits_of(name, pairs, columns or {})
    strata = next((name for name, column in splits.columns.items() if column.kind == "class"), None)
    train, held = splits.train, {split: getattr(splits, split) for split in SPLITS[1:]}
    for split in ("test", "validation"):  # in this order a share of validation is one of what the test leaves
        if shares.get(split):
            train, held[split] = set_apart(train, strata, shares[split], seed)
    if not len(train):
        asked = " and ".join(f"{split} {share:g}" for split, share in shares.items() if share)
        verb = "leave" if " and " in asked else "leaves"
        raise ValueError(f"{asked} {verb} none of {len(splits.train)} images to train on")
    return replace(splits, train=train, **held)


def splits_of(name: str, pairs: Mapping[str, Pair], columns: Mapping[str, Column]) -> Splits:
    """Splits of whole splits, each with its images and targets; those that are not given are empty.

    Raises:
        ValueError: naming the split and item that does not fit, and what was expected.
    """
    images, targets = pairs["train"]
    if not len(images):
        raise ValueError("train has no images")
    for target in columns:
        if target not in targets:
            raise ValueError(f"columns names {target!r}, which is no target: {nearest(target, targets)}")
    for split, (pixels, given) in pairs.items():
        if pixels.shape[1:] != images.shape[1:]:
            raise ValueError(
                f"{split} images are {shape_text(pixels.shape[1:])}, train images {shape_text(images.shape[1:])}"
            )
        if given.keys() != targets.keys():
            raise ValueError(f"{split} has the targets {', '.join(given)}, train has {', '.join(targets)}")
        for target, values in given.items():
            if len(values) != len(pixels):
                raise ValueError(f"{split} has {len(pixels)} images, but {len(values)} values of target {target!r}")
    filled = {split: pair for split, pair in pairs.items() if len(pair[0])}
    of = np.repeat(list(filled), [len(pixels) for pixels, _ in filled.values()])
    made: dict[str, Column] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for target in targets:
        values = _joined(target, {split: given[target] for split, (_, given) in filled.items()})
        with naming(f"target {target!r}"):
            column, array, bad = encode_values(
                target, values, columns.get(target), of == "train", (images.shape[2], images.shape[3])
            )
        for row, message in bad:
            item = row - int(np.flatnonzero(of == of[row])[0])
            raise ValueError(f"target {target!r} of {of[row]}, item {item}: {message}")
        if not labelled(column.kind, array[of == "train"]).any():
            raise ValueError(f"target {target!r} has no label in train")
        made[target], arrays[target] = column, array

    def samples(split: str) -> Samples:
        pixels = pairs[split][0] if split in pairs else images[:0]
        return Samples({ONE_VIEW: pixels}, {target: array[of == split] for target, array in arrays.items()})

    train, validation, test = map(samples, SPLITS)
    return Splits(name, made, train, validation, test)


def _pair(split: str, images: Any, targets: Any) -> Pair:
    """Images and targets of a split; an array of targets is the column "label"."""
    with naming(split):
        pixels = as_images(images)
    return pixels, targets if isinstance(targets, Mapping) else {"label": targets}


def _joined(target: str, by_split: Mapping[str, Any]) -> NDArray[Any]:
    """The values of all splits, one after the other."""
    arrays = {}
    for split, values in by_split.items():
        with naming(f"target {target!r} of {split}"):
            arrays[split] = as_values(values)
    first = arrays["train"]
    for split, array in arrays.items():
        if array.shape[1:] != first.shape[1:] or (array.dtype.kind == "U") != (first.dtype.kind == "U"):
            raise ValueError(
                f"target {target!r} of {split} is {array.dtype} {list(array.shape)}, of train {first.dtype} "
                f"{list(first.shape)}"
            )
    return np.concatenate(list(arrays.values()))
