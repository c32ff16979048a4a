"""Several data sets as one, each with the labels that it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.file_images import FileImages, Images, join_images
from hybridvit.data.samples import Column, Samples, Splits, missing


def merge(parts: Sequence[Splits]) -> Splits:
    """All samples of all data sets; a target or view that a data set lacks is missing there.

    Boxes are padded to the same number. ``Samples.source`` says which data set a sample is from.

    Raises:
        ValueError: a view differs in shape, or a column in what it holds.
    """
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Column] = {}
    shapes: dict[str, tuple[int, int, int]] = {}
    for part in parts:
        for name, column in part.columns.items():
            if columns.setdefault(name, column) != column:
                raise ValueError(
                    f"column {name!r} holds {columns[name].kind} of {', '.join(columns[name].names)} in one data set, "
                    f"and {column.kind} of {', '.join(column.names)} in {part.name}: give the same names to all"
                )
        for view, shape in part.shapes.items():
            if shapes.setdefault(view, shape) != shape:
                raise ValueError(
                    f"view {view!r} is {_text(shapes[view])} in one data set and {_text(shape)} in {part.name}: "
                    "say which size to use, as in --data.image_size 64"
                )
    if len({part.rig.to_json() if part.rig is not None else None for part in parts}) > 1:
        raise ValueError("the data sets have different rigs: one geometry goes with one model")
    train, validation, test = (
        _join([getattr(part, split) for part in parts], columns, shapes) for split in ("train", "validation", "test")
    )
    name = "+".join(part.name for part in parts)
    return Splits(name, columns, train, validation, test, rig=parts[0].rig)


def _join(parts: Sequence[Samples], columns: dict[str, Column], shapes: dict[str, tuple[int, int, int]]) -> Samples:
    views = {}
    present = {}
    for view, shape in shapes.items():
        on_disk = any(isinstance(part.views.get(view), FileImages) for part in parts)
        views[view] = join_images(
            [part.views[view] if view in part.views else _blank(len(part), shape, on_disk) for part in parts]
        )
        there = [
            part.present.get(view, np.ones(len(part), bool)) if view in part.views else np.zeros(len(part), bool)
            for part in parts
        ]
        present[view] = np.concatenate(there)
    targets = {name: _targets(name, column, parts) for name, column in columns.items()}
    source = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return Samples(views, targets, {view: there for view, there in present.items() if not there.all()}, source)


def _blank(count: int, shape: tuple[int, int, int], on_disk: bool) -> Images:
    """Images of a view that a data set has not."""
    c, h, w = shape
    return FileImages.of([None] * count, c, (h, w)) if on_disk else np.zeros((count, c, h, w), np.uint8)


def _targets(name: str, column: Column, parts: Sequence[Samples]) -> NDArray[Any]:
    known = [part.targets[name] for part in parts if name in part.targets]
    shape = tuple(max(sizes) for sizes in zip(*(values.shape[1:] for values in known), strict=True))
    arrays = []
    for part in parts:
        if name in part.targets:
            values = part.targets[name]
            if column.kind == "boxes":
                wide = np.zeros((len(values), *shape), values.dtype)
                wide[..., 0] = -1
                wide[:, : values.shape[1]] = values
                wide[np.isnan(values).all(axis=(1, 2))] = np.nan
                values = wide
            arrays.append(values)
        else:
            arrays.append(np.full((len(part), *shape), missing(column.kind), known[0].dtype))
    return np.concatenate(arrays)


def _text(shape: tuple[int, int, int]) -> str:
    return f"{shape[1]}x{shape[2]} pixels with {shape[0]} channels"
