"""Splits from map-style datasets, read item by item into memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset

from hybridvit.data.array_images import as_image, naming, shape_text
from hybridvit.data.from_arrays import Pair, splits_of
from hybridvit.data.loaders.memory import GIB, allowed_bytes
from hybridvit.data.samples import Column, Splits

MAP_STYLE = ("__len__", "__getitem__")
FORMS = '(image, target), (image, {name: target}) or {"image": image, name: target}'


def from_datasets(
    datasets: Mapping[str, Any], columns: Mapping[str, Column] | None, name: str | None, memory: float | None
) -> Splits:
    """Splits of datasets, split name -> dataset; other arguments as for :meth:`Splits.from_datasets`."""
    left = allowed_bytes(memory)
    pairs: dict[str, Pair] = {}
    for split, dataset in datasets.items():
        if dataset is None:
            continue
        if isinstance(dataset, IterableDataset) or not all(hasattr(dataset, name) for name in MAP_STYLE):
            raise ValueError(f"{split} must be a map-style dataset (with a length and items), given {dataset!r:.80}")
        if len(dataset):
            pairs[split] = _read(split, dataset, left)
            left -= pairs[split][0].nbytes
    if "train" not in pairs:
        raise ValueError("train has no items")
    return splits_of(name or type(datasets["train"]).__name__, pairs, columns or {})


def _read(split: str, dataset: Any, allowed: int) -> Pair:
    """All items of a dataset, each read once."""
    images: NDArray[np.uint8] | None = None
    targets: dict[str, list[Any]] = {}
    for index in range(len(dataset)):
        with naming(f"item {index} of {split}"):
            image, given = _item(dataset[index])
            pixels = as_image(image)
            if images is None:
                images = _room(len(dataset), pixels.shape, allowed)
                targets = {name: [] for name in given}
            elif pixels.shape != images.shape[1:]:
                raise ValueError(
                    f"the image is {shape_text(pixels.shape)}, item 0 is {shape_text(images.shape[1:])}: resize and "
                    "convert all images alike in the dataset's transform"
                )
            if given.keys() != targets.keys():
                raise ValueError(f"it has the targets {', '.join(given) or 'none'}, item 0 has {', '.join(targets)}")
        images[index] = pixels
        for name, target in given.items():
            targets[name].append(target)
    assert images is not None
    return images, targets


def _item(item: Any) -> tuple[Any, Mapping[str, Any]]:
    """An item's image, and its targets by name."""
    if isinstance(item, Mapping):
        if "image" not in item or len(item) < 2:
            raise ValueError(f"expected {FORMS}, given a mapping with {', '.join(map(str, item)) or 'nothing'}")
        return item["image"], {name: target for name, target in item.items() if name != "image"}
    if not isinstance(item, tuple | list) or len(item) != 2:
        size = f" of {len(item)}" if isinstance(item, tuple | list) else ""
        raise ValueError(f"expected {FORMS}, given a {type(item).__name__}{size}")
    image, target = item
    return image, target if isinstance(target, Mapping) else {"label": target}


def _room(count: int, shape: tuple[int, ...], allowed: int) -> NDArray[np.uint8]:
    """Memory for all images of a split.

    Raises:
        ValueError: they would take more than is allowed.
    """
    needed = count * int(np.prod(shape))
    if needed > allowed:
        raise ValueError(
            f"{count} images of {shape_text(shape)} take {needed / GIB:.2g} GiB, and {max(allowed, 0) / GIB:.2g} GiB "
            "are allowed: raise memory, or keep image files on disk and name them in a manifest (DataConfig.root)"
        )
    return np.empty((count, *shape), np.uint8)
