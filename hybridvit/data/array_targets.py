"""Targets given as arrays or lists: the kind of a column, inferred from its values, and its array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.array_images import to_array
from hybridvit.data.readers.columns import Encoded, encode
from hybridvit.data.samples import VOID, Column


def as_values(values: Any) -> NDArray[Any]:
    """Targets of all items as one array of whole numbers, floats or text.

    None, and NaN where the other items are no floats, become the missing label: -1, NaN, "" or, in masks, 255.
    Booleans become 0 and 1.

    Raises:
        ValueError: the items differ in shape or kind, or are no numbers or text.
    """
    array = to_array(values) if hasattr(values, "__array__") else np.array(None)
    if array.dtype == object:
        array = _stacked(list(values))
    if array.dtype.kind not in "biufU":
        raise ValueError(f"targets must be whole numbers, floats or text, given {array.dtype}")
    return array.astype(np.int64) if array.dtype.kind in "biu" and array.ndim < 3 else array


def _stacked(items: Sequence[Any]) -> NDArray[Any]:
    arrays = {index: to_array(item) for index, item in enumerate(items) if item is not None}
    arrays = {index: array for index, array in arrays.items() if not _is_nan(array)}
    if not arrays:
        return np.full(len(items), np.nan)
    first, example = next(iter(arrays.items()))
    for index, array in arrays.items():
        if array.shape != example.shape or (array.dtype.kind == "U") != (example.dtype.kind == "U"):
            raise ValueError(f"item {index} is {_described(array)}, but item {first} is {_described(example)}")
    dtype = np.result_type(*{array.dtype for array in arrays.values()})
    missing: Any = {"U": "", "f": np.nan}.get(dtype.kind, VOID if example.ndim == 2 else -1)
    if dtype.kind in "bu" and example.ndim < 2:
        dtype = np.dtype(np.int64)
    stacked = np.full((len(items), *example.shape), missing, dtype)
    for index, array in arrays.items():
        stacked[index] = array
    return stacked


def _is_nan(array: NDArray[Any]) -> bool:
    return array.ndim == 0 and array.dtype.kind == "f" and bool(np.isnan(array))


def _described(array: NDArray[Any]) -> str:
    return f"{'text' if array.dtype.kind == 'U' else array.dtype} of shape {list(array.shape)}"


def _infer_column(name: str, values: NDArray[Any], size: tuple[int, int]) -> Column:
    """What a column holds: the rule that :meth:`Splits.from_arrays` documents. A class column has no names yet."""
    kind, axes = values.dtype.kind, values.ndim
    if kind in "iuU" and axes == 1:
        return Column("class", ())
    if kind == "f" and axes in (1, 2):
        several = axes == 2 and values.shape[1] != 1
        return Column("numbers", tuple(map(str, range(values.shape[1]))) if several else (name,))
    if kind in "biu" and values.shape[1:] == size:
        used = values[values != VOID]
        return Column("mask", tuple(map(str, range(int(used.max(initial=0)) + 1))))
    raise ValueError(
        f"{_described(values)} is neither classes (whole numbers or text [n]) nor numbers (floats [n] or [n, k]) nor "
        f"masks (whole numbers [n, {size[0]}, {size[1]}]): say what it is, as in columns={{{name!r}: "
        'hv.Column("multilabel", names)}'
    )


def encode_values(
    name: str, values: NDArray[Any], column: Column | None, train: NDArray[np.bool_], size: tuple[int, int]
) -> Encoded:
    """The column, its array, and what is wrong with which items.

    Args:
        name: of the column.
        values: of all samples, ``[n, ...]``, from :func:`as_values`.
        column: what it holds; None: inferred. A class column without names has those of its training labels.
        train: which samples are for training, ``[n]``.
        size: height and width of the images.

    Raises:
        ValueError: the array has not the shape or type that the column wants.
    """
    column = column or _infer_column(name, values[train], size)
    kind, names = column.kind, column.names
    if kind == "numbers" and values.ndim == 1:
        values = values[:, None]
    shape: tuple[Any, ...] = {
        "class": (),
        "mask": size,
        "points": (len(names), 2),
        "boxes": (*values.shape[1:2], 5),
    }.get(kind, (len(names),))
    types = {"class": "iuU", "multilabel": "iu", "mask": "biu"}.get(kind, "iuf")
    if values.shape[1:] != shape or values.dtype.kind not in types:
        words = {"iuU": "whole numbers or text", "iuf": "numbers"}.get(types, "whole numbers")
        raise ValueError(f"{kind} must be {words} {['n', *shape]}, given {_described(values)}".replace("'n'", "n"))
    if kind == "class" and (values.dtype.kind == "U" or not names):
        cells = ["" if label in ("", -1) else str(label) for label in values.tolist()]
        made, array, bad = encode("class", name, cells, names or None, train, Path())
        negative = np.flatnonzero(values < -1).tolist() if values.dtype.kind != "U" else []
        expected = "is no class: whole numbers from 0, or -1 for no label"
        return made, array, bad + [(row, f"{values[row]} {expected}") for row in negative]
    if kind in ("class", "multilabel"):
        most = len(names) - 1 if kind == "class" else 1
        wrong, expected = (values < -1) | (values > most), f"expected 0 to {most}, or -1 for no label"
        array = values.astype(np.int64)
    elif kind == "mask":
        wrong = (values < 0) | ((values >= len(names)) & (values != VOID))
        expected = f"expected 0 to {len(names) - 1}, or {VOID} for no label"
        array = values.astype(np.uint8)
        if set(np.unique(array[train]).tolist()) == {0, VOID}:
            raise ValueError("masks hold only 0 and 255, and 255 means unlabelled: save the second class as 1")
    else:
        wrong, expected = np.isinf(values), "expected a finite number, or NaN for no label"
        array = values.astype(np.float32)
    rows = np.flatnonzero(wrong.reshape(len(wrong), -1).any(axis=1))
    return column, array, [(int(row), f"{values[row][wrong[row]].flat[0]} in {kind}: {expected}") for row in rows]
