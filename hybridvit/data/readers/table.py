"""A manifest as a table of text cells, read from CSV or Parquet."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.samples import ONE_VIEW

SPLIT = "split"
SPLIT_INDEX = {"": 0, "train": 0, "val": 1, "validation": 1, "test": 2}  # into SPLITS
NAMED_AT_MOST = 5  # rows or files that a message names


@dataclass(frozen=True)
class Table:
    """Cells of a manifest; an empty cell is "".

    Attributes:
        path: the file.
        columns: column name -> its cells, row by row.
        rows: the row number that a spreadsheet shows for each, the header being row 1.
        ragged: rows left out because they have more or fewer cells than the header: row number, and how many.
    """

    path: Path
    columns: dict[str, list[str]]
    rows: list[int]
    ragged: list[tuple[int, str]]

    def __len__(self) -> int:
        return len(self.rows)

    def views(self) -> dict[str, str]:
        """View name -> its column: ``image``, or for several cameras ``image:front``, ``image:left``, ...

        Raises:
            ValueError: there is none, or both forms are.
        """
        cameras = {name.partition(":")[2].strip(): name for name in self.columns if name.startswith(f"{ONE_VIEW}:")}
        if ONE_VIEW in self.columns:
            if cameras:
                raise ValueError(f"{self.path} has both a column image and {', '.join(cameras.values())}: name one way")
            return {ONE_VIEW: ONE_VIEW}
        if "" in cameras:
            raise ValueError(f"{self.path} has a column {cameras['']!r} without a camera's name, as in image:front")
        if not cameras:
            raise ValueError(
                f"{self.path} has no column image (or image:front, image:left, ... for several cameras); "
                f"it has {', '.join(self.columns) or 'none'}"
            )
        return cameras if len(cameras) > 1 else {ONE_VIEW: next(iter(cameras.values()))}

    def targets(self) -> list[str]:
        """The columns that are neither images nor the split."""
        return [name for name in self.columns if name not in (SPLIT, *self.views().values())]

    def files(self, column: str) -> list[Path | None]:
        """The files that a column names, relative to the table's folder."""
        return [self.path.parent / cell if cell else None for cell in self.columns[column]]

    def splits(self) -> tuple[NDArray[np.int64], list[tuple[int, str]]]:
        """0 for training, 1 for validation and 2 for test rows ``[n]``; and what is wrong, by row index."""
        cells = self.columns.get(SPLIT)
        if cells is None:
            return np.zeros(len(self), np.int64), []
        bad = [
            (index, f"{cell!r} is no split: choose from train, val, validation, test")
            for index, cell in enumerate(cells)
            if cell.lower() not in SPLIT_INDEX
        ]
        return np.array([SPLIT_INDEX.get(cell.lower(), 0) for cell in cells], dtype=np.int64), bad

    def refuse(self, column: str, bad: Sequence[tuple[int, str]]) -> None:
        """Raises ValueError where ``bad`` (row index, what is wrong) is not empty, naming rows."""
        if not bad:
            return
        index, message = bad[0]
        others = [self.rows[other] for other in dict.fromkeys(other for other, _ in bad) if other != index]
        more = f" (also row{'s' * (len(others) > 1)} {listed(others)})" if others else ""
        raise ValueError(f"{self.path}, row {self.rows[index]}, column {column!r}: {message}{more}")


def read_table(path: Path) -> Table:
    """Reads a .csv file (UTF-8; separated by commas, or by semicolons or tabs where the header has no comma)
    or a .parquet file.

    Raises:
        ValueError: the file cannot be read, has a column twice, or no rows.
    """
    header, rows, ragged, cells = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    names = [name.strip() for name in header]
    for name in names:
        if name and names.count(name) > 1:
            raise ValueError(f"{path} has the column {name!r} {names.count(name)} times")
    columns = {name: column for name, column in zip(names, cells, strict=True) if name}
    if not rows:
        raise ValueError(f"{path} has no rows" + (f" of {len(names)} cells, as the header has" if ragged else ""))
    return Table(path, columns, rows, ragged)


def listed(items: Iterable[object]) -> str:
    """The first few, and how many more there are."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - NAMED_AT_MOST} more" if len(texts) > NAMED_AT_MOST else ""
    return ", ".join(texts[:NAMED_AT_MOST]) + more


def _read_csv(path: Path) -> tuple[list[str], list[int], list[tuple[int, str]], list[list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            separators = [separator for separator in ";\t" if separator in first and "," not in first]
            file.seek(0)
            records = list(csv.reader(file, delimiter=separators[0] if separators else ",", strict=True))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ValueError(f"{path} cannot be read as CSV: {reason}") from error
    header = records[0] if records else []
    numbered = [(number, record) for number, record in enumerate(records[1:], 2) if any(map(str.strip, record))]
    ragged = [
        (number, f"{len(record)} cells, the header has {len(header)}")
        for number, record in numbered
        if len(record) != len(header)
    ]
    whole = [(number, record) for number, record in numbered if len(record) == len(header)]
    cells = [[cell.strip() for cell in column] for column in zip(*(record for _, record in whole), strict=True)]
    return header, [number for number, _ in whole], ragged, cells or [[] for _ in header]


def _read_parquet(path: Path) -> tuple[list[str], list[int], list[tuple[int, str]], list[list[str]]]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ValueError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    cells = [[_text(value) for value in column.to_pylist()] for column in table.columns]
    return table.column_names, list(range(2, table.num_rows + 2)), [], cells


def _text(value: Any) -> str:
    """A Parquet value as the text that CSV would hold; NaN is an empty cell, as pandas means it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, list | dict):
        return json.dumps(value, default=str)
    return str(value).strip()
