"""Columns of cells as target arrays: names become indices, what is missing becomes -1 or NaN.

Points and boxes stay in pixels of the original image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hybridvit.config import nearest
from hybridvit.data.readers import parse_cells as parse
from hybridvit.data.samples import Column, ColumnKind

V = TypeVar("V")
Bad = list[tuple[int, str]]  # index of a row, and what is wrong with it
Names = tuple[str, ...] | None
Encoded = tuple[Column, NDArray[Any], Bad]


def encode(
    kind: ColumnKind, target: str, cells: list[str], names: Names, train: NDArray[np.bool_], root: Path
) -> Encoded:
    """The column, its array, and what is wrong with which rows.

    Args:
        kind: what the cells hold; anything but a mask.
        target: name of the column.
        cells: text of each row, "" where there is no label.
        names: classes, components or points; None: those of the training rows.
        train: which rows are for training, ``[n]``.
        root: folder that files are relative to.
    """
    if kind == "class":
        return _classes(cells, names, train)
    if kind == "multilabel":
        return _multilabel(cells, names, train)
    if kind == "boxes":
        return _boxes(cells, names, train, root)
    assert kind in ("numbers", "points")
    rows, bad = _parsed(cells, parse.numbers if kind == "numbers" else parse.points)
    if names is None:
        names = _first_names(rows, train)
        names = (target,) if kind == "numbers" and names == ("0",) else names
    array, wrong = _by_name(rows, names, kind)
    return Column(kind, names), array, sorted(bad + wrong)


def encode_several(kind: ColumnKind, cells: dict[str, list[str]]) -> Encoded:
    """Numbers or a multilabel (0 or 1) with a column for each name."""
    columns = []
    bad: Bad = []
    for name, column in cells.items():
        values, wrong = _parsed(column, parse.number if kind == "numbers" else _zero_or_one)
        columns.append([np.nan if value is None else value for value in values])
        bad += [(index, f"{name}: {message}") for index, message in wrong]
    array = np.array(columns, dtype=np.float32).T
    if kind == "multilabel":
        array = np.where(np.isnan(array), -1, array).astype(np.int64)
    return Column(kind, tuple(cells)), array, sorted(bad)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Sorted; whole numbers by their value."""
    distinct = set(names)
    return tuple(sorted(distinct, key=int if all(map(parse.WHOLE.fullmatch, distinct)) else None))


class ClassIndex:
    """Class name -> index, of the names given or else of those in the training rows.

    Whole numbers are names as well; where names are given and none of them is a whole number, they are indices.
    """

    def __init__(self, given: Names, rows: Iterable[Iterable[str]], train: NDArray[np.bool_]) -> None:
        in_data: set[str] = set()
        in_training: set[str] = set()
        for names, training in zip(rows, train, strict=True):
            in_data.update(names)
            if training:
                in_training.update(names)
        self.whole = all(map(parse.WHOLE.fullmatch, in_data))
        self.given = given is not None
        self.names = ordered(map(self.canonical, in_training)) if given is None else given
        self.index = {
            self.canonical(name) if parse.WHOLE.fullmatch(name) else name: index
            for index, name in enumerate(self.names)
        }
        if self.whole and given is not None and not any(parse.WHOLE.fullmatch(name) for name in given):
            self.index = {str(index): index for index in range(len(given))}

    def canonical(self, name: str) -> str:
        return parse.whole_number(name) if self.whole else name

    def __getitem__(self, name: str) -> int:
        if (index := self.index.get(self.canonical(name))) is not None:
            return index
        if not self.given:
            raise ValueError(f"class {name!r} is in no training row; {nearest(name, self.names)}")
        raise ValueError(f"{name!r} is none of the {len(self.names)} classes; {nearest(name, self.names)}")


def _parsed(cells: Sequence[str], parser: Callable[[str], V]) -> tuple[list[V | None], Bad]:
    values: list[V | None] = []
    bad: Bad = []
    for index, cell in enumerate(cells):
        value = None
        if cell:
            try:
                value = parser(cell)
            except ValueError as error:
                bad.append((index, str(error)))
        values.append(value)
    return values, bad


def _zero_or_one(cell: str) -> float:
    if cell.lower() not in ("0", "1", "0.0", "1.0", "true", "false"):
        raise ValueError(f"{parse.shortened(cell)} is neither 0 nor 1")
    return float(cell.lower() in ("1", "1.0", "true"))


def _classes(cells: list[str], names: Names, train: NDArray[np.bool_]) -> Encoded:
    index = ClassIndex(names, ([cell] if cell else [] for cell in cells), train)
    meaning, wrong = {"": -1}, {}
    for cell in set(cells) - {""}:
        try:
            meaning[cell] = index[cell]
        except ValueError as error:
            meaning[cell], wrong[cell] = -1, str(error)
    bad = [(row, wrong[cell]) for row, cell in enumerate(cells) if cell in wrong]
    return Column("class", index.names), np.array([meaning[cell] for cell in cells], np.int64), bad


def _multilabel(cells: list[str], names: Names, train: NDArray[np.bool_]) -> Encoded:
    rows, bad = _parsed(cells, parse.multilabel)
    index = ClassIndex(names, (row or () for row in rows), train)
    array = np.full((len(cells), len(index.names)), -1, np.int64)
    for row, labels in enumerate(rows):
        if labels is None:
            continue
        array[row] = 0
        try:
            for name in labels:
                array[row, index[name]] = 1
        except ValueError as error:
            bad.append((row, str(error)))
    return Column("multilabel", index.names), array, sorted(bad)


def _first_names(rows: Sequence[list[Any] | dict[str, Any] | None], train: NDArray[np.bool_]) -> tuple[str, ...]:
    """Names in the first labelled training row: keys, or the places in a list."""
    for row, training in zip(rows, train, strict=True):
        if training and row:
            return tuple(row) if isinstance(row, dict) else tuple(map(str, range(len(row))))
    return ("0",)


def _by_name(
    rows: Sequence[list[Any] | dict[str, Any] | None], names: tuple[str, ...], kind: ColumnKind
) -> tuple[NDArray[np.float32], Bad]:
    """Numbers ``[n, k]`` or points ``[n, k, 2]``, NaN where there is no label."""
    shape = (2,) if kind == "points" else ()
    array = np.full((len(rows), len(names), *shape), np.nan, np.float32)
    places = {name: place for place, name in enumerate(names)}
    bad: Bad = []
    for index, row in enumerate(rows):
        if row is None:
            continue
        named = row if isinstance(row, dict) else dict(zip(names, row, strict=False))
        if unknown := [name for name in named if name not in places]:
            bad.append((index, f"{unknown[0]!r} is none of the {len(names)} names; {nearest(unknown[0], names)}"))
        elif len(row) != len(names) and isinstance(row, list):
            bad.append((index, f"{len(row)} {kind} given, expected {len(names)}: {', '.join(names)}"))
        else:
            for name, value in named.items():
                if value is not None:
                    array[index, places[name]] = value
    return array, bad


def _boxes(cells: list[str], names: Names, train: NDArray[np.bool_], root: Path) -> Encoded:
    rows, bad = _parsed(cells, lambda cell: parse.boxes(cell, root))
    index = ClassIndex(names, ([name for name, *_ in row or ()] for row in rows), train)
    most = max((len(row) for row in rows if row), default=1)
    array = np.full((len(cells), most, 5), np.nan, np.float32)
    for row, boxes in enumerate(rows):
        if boxes is None:
            continue
        array[row] = (-1, 0, 0, 0, 0)
        try:
            for place, (name, *corners) in enumerate(boxes):
                array[row, place] = (index[name], *corners)
        except ValueError as error:
            bad.append((row, str(error)))
    return Column("boxes", index.names), array, sorted(bad)
