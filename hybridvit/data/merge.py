"""Several data sets as one, each with the labels that it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.array_images import shape_text
from hybridvit.data.file_images import FileImages, Images, join_images
from hybridvit.data.samples import SPLITS, Column, Samples, Splits, labelled, missing


def merge(datasets: Sequence[Splits]) -> Splits:
    """All samples of all data sets; a target or view that a data set lacks is missing there.

    Boxes are padded to the same number. ``Samples.source`` says which data set a sample is from.

    Raises:
        ValueError: a view differs in shape, or a column in what it holds.
    """
    if len(datasets) == 1:
        return datasets[0]
    columns: dict[str, Column] = {}
    shapes: dict[str, tuple[int, int, int]] = {}
    for dataset in datasets:
        for name, column in dataset.columns.items():
            if columns.setdefault(name, column) != column:
                raise ValueError(
                    f"column {name!r} holds {columns[name].kind} of {', '.join(columns[name].names)} in one data set, "
                    f"and {column.kind} of {', '.join(column.names)} in {dataset.name}: give the same names to all"
                )
        for view, shape in dataset.shapes.items():
            if shapes.setdefault(view, shape) != shape:
                raise ValueError(
                    f"view {view!r} is {shape_text(shapes[view])} in one data set and {shape_text(shape)} in "
                    f"{dataset.name}: say which size to use, as in --data.image_size 64"
                )
    if len({dataset.rig.to_json() if dataset.rig is not None else None for dataset in datasets}) > 1:
        raise ValueError("the data sets have different rigs: one geometry goes with one model")
    train, validation, test = (
        _join([getattr(dataset, split) for dataset in datasets], columns, shapes) for split in SPLITS
    )
    name = "+".join(dataset.name for dataset in datasets)
    return Splits(name, columns, train, validation, test, rig=datasets[0].rig)


def _join(pieces: Sequence[Samples], columns: dict[str, Column], shapes: dict[str, tuple[int, int, int]]) -> Samples:
    views = {}
    present = {}
    for view, shape in shapes.items():
        on_disk = any(isinstance(piece.views.get(view), FileImages) for piece in pieces)
        views[view] = join_images(
            [piece.views[view] if view in piece.views else _blank(len(piece), shape, on_disk) for piece in pieces]
        )
        masks = [piece.present.get(view, np.full(len(piece), view in piece.views)) for piece in pieces]
        present[view] = np.concatenate(masks)
    targets = {name: _targets(name, column, pieces) for name, column in columns.items()}
    source = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    return Samples(views, targets, {view: mask for view, mask in present.items() if not mask.all()}, source)


def _blank(count: int, shape: tuple[int, int, int], on_disk: bool) -> Images:
    """Images of a view that a data set lacks."""
    c, h, w = shape
    return FileImages.of([None] * count, c, (h, w)) if on_disk else np.zeros((count, c, h, w), np.uint8)


def _targets(name: str, column: Column, pieces: Sequence[Samples]) -> NDArray[Any]:
    """The values of all pieces, missing where a piece lacks the column; boxes padded to the same number."""
    given = [piece.targets[name] for piece in pieces if name in piece.targets]
    shape = tuple(max(sizes) for sizes in zip(*(values.shape[1:] for values in given), strict=True))
    arrays = []
    for piece in pieces:
        array = piece.targets.get(name, np.full((len(piece), *shape), missing(column.kind), given[0].dtype))
        if column.kind == "boxes":
            padded = np.full((len(piece), *shape), np.nan, array.dtype)
            padded[labelled(column.kind, array)] = (-1, 0, 0, 0, 0)
            padded[:, : array.shape[1]] = array
            array = padded
        arrays.append(array)
    return np.concatenate(arrays)
