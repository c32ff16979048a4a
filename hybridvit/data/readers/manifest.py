"""Samples from a manifest: a CSV or Parquet table with a row for each sample, of one or several cameras.

The columns of the table:

``image``
    path of the image; several cameras have a column each: ``image:front``, ``image:left``, ... The view is
    called what follows the colon (a single camera is always the view "image"). An empty cell is a missing camera.
``split``
    train, val (or validation) or test; empty is train. May be left out.
any other
    a target, read when a task asks for it; an empty cell is a missing label:

    ========== ===========================================================================================
    class      a name, or a whole number
    multilabel names separated by ``|`` or ``;``, or a JSON list; ``none`` is labelled with no class. Or a
               column ``target:name`` of 0 and 1 for each name
    numbers    a number, a JSON list, or a JSON object name -> number. Or a column ``target:name`` for each
    mask       path of an image of class indices (8 bits, grey or with a palette); 255 is unlabelled
    points     a JSON list of [x, y] or null, or a JSON object name -> [x, y]
    boxes      a JSON list of {"class": name, "box": [x1, y1, x2, y2]} or [class, x1, y1, x2, y2], or the
               path of a .json file with that list
    ========== ===========================================================================================

Paths are relative to the manifest's folder. Masks, points and boxes are in pixels of the image as it is seen, that
is, turned as its EXIF orientation says; they are cropped and resized with it. Where there are several cameras they
belong to the camera that follows the colon of their name (``lane:front``), else to the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.config import nearest
from hybridvit.data.readers.columns import Encoded, encode, encode_several
from hybridvit.data.readers.row_files import RowFiles
from hybridvit.data.readers.table import SPLIT, Table, read_table
from hybridvit.data.samples import SPLITS, Column, ColumnKind, Samples, Splits, labelled, read_all


@dataclass(frozen=True)
class ColumnRequest:
    """A target column that a task asks for.

    Attributes:
        kind: what it should hold.
        names: classes, components or points; None: those of the training rows, sorted.
    """

    kind: ColumnKind
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        twice = [name for index, name in enumerate(self.names or ()) if name in (self.names or ())[:index]]
        if twice:
            raise ValueError(f"names must differ, but {twice[0]!r} is given twice")


def target_names(path: Path) -> tuple[str, ...]:
    """Target columns that a manifest has, to ask it only for those.

    Raises:
        ValueError: the manifest cannot be read.
    """
    table = read_table(path)
    columns = table.targets()
    several = [name.partition(":")[0] for name in columns if ":" in name]
    return tuple(dict.fromkeys(columns + several))


def read_manifest(
    path: Path,
    requests: Mapping[str, ColumnRequest],
    image_size: int | tuple[int, int] | None = None,
    skip_unreadable: bool = False,
    memory: int | None = None,
) -> Splits:
    """Reads images and the requested columns; images of a view are RGB unless all of them are grey.

    Points that are cropped away become missing; boxes are clipped, and dropped where less than a pixel is left.

    Args:
        path: a .csv or .parquet file.
        requests: target column -> what it should hold.
        image_size: as for :func:`read_folder`; None: those of a view must be of one size.
        skip_unreadable: leave out rows whose files cannot be read, with a warning, instead of refusing them.
        memory: as for :func:`read_folder`; masks are always in memory.

    Raises:
        ValueError: naming rows as a spreadsheet numbers them (the header is row 1), for whatever is not as above.
    """
    table = read_table(path)
    if table.ragged:
        number, message = table.ragged[0]
        more = f" (and {len(table.ragged) - 1} more such rows)" if len(table.ragged) > 1 else ""
        raise ValueError(f"{path}, row {number}: {message}{more}")
    split, bad = table.splits()
    table.refuse(SPLIT, bad)
    if not (split == 0).any():
        raise ValueError(f"{path} has no training rows: every row's split is val or test")
    targets = {name: _target(table, name, request, split == 0) for name, request in requests.items()}
    files = RowFiles(table, image_size)
    columns: dict[str, Column] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for name, request in requests.items():
        if encoded := targets[name]:
            columns[name], arrays[name] = encoded[0], files.moved(name, request.kind, encoded[1])
        else:
            columns[name], arrays[name] = files.mask(name, request.names, split == 0)
    everything = Samples(files.views(), arrays, files.present())
    parts = [everything[split == index] for index in range(len(SPLITS))]
    if memory is None or everything.nbytes <= memory:
        parts, unreadable = read_all(parts)
        files.unreadable |= unreadable
    kept = files.kept(skip_unreadable)
    if not kept.all():
        parts = [samples[kept[split == index]] for index, samples in enumerate(parts)]
    train, validation, test = parts
    if not len(train):
        raise ValueError(f"{path} has no training row whose files can be read")
    for name, column in columns.items():
        _check_labels(path, name, column, train.targets[name])
    return Splits(path.stem, columns, train, validation, test)


def _target(table: Table, name: str, request: ColumnRequest, train: NDArray[np.bool_]) -> Encoded | None:
    """The column, checked; None for masks, which are files."""
    columns = {column.partition(":")[2]: column for column in table.columns if column.startswith(f"{name}:")}
    if name not in table.columns and columns and request.kind in ("numbers", "multilabel"):
        for part in request.names or ():
            if part not in columns:
                raise ValueError(f"{table.path} has no column {name}:{part}; {nearest(part, columns)}")
        names = request.names or tuple(columns)
        encoded = encode_several(request.kind, {part: table.columns[columns[part]] for part in names})
    elif name not in (choices := table.targets()):
        hint = f"; {nearest(name, choices)}" if choices else ", and no other one either"
        raise ValueError(f"{table.path} has no target column {name!r}{hint}")
    elif request.kind == "mask":
        return None
    else:
        encoded = encode(request.kind, name, table.columns[name], request.names, train, table.path.parent)
    column, values, bad = encoded
    table.refuse(name, bad)
    _check_labels(table.path, name, column, values[train])
    return encoded


def _check_labels(path: Path, name: str, column: Column, values: NDArray[Any]) -> None:
    if not labelled(column.kind, values).any():
        raise ValueError(f"{path}: column {name!r} has not one label in the training rows")
