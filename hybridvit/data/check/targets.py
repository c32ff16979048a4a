"""What the target columns of a manifest hold, and what is wrong with their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.check.duplicates import ImageSummary
from hybridvit.data.check.report import ColumnReport, Problems, size_text
from hybridvit.data.readers import parse_cells as parse
from hybridvit.data.readers.columns import Encoded, encode, encode_several
from hybridvit.data.readers.geometry import Fit, Size
from hybridvit.data.readers.image_io import in_threads, read_mask
from hybridvit.data.readers.infer_kind import NUMBER, infer_kind
from hybridvit.data.readers.row_files import view_of
from hybridvit.data.readers.table import SPLIT, Table, listed
from hybridvit.data.samples import ONE_VIEW, SPLITS, VOID, Column, ColumnKind, labelled

SEEMS_MISSING = ("nan", "na", "n/a", "null", "none", "nil", "?", "-", "unknown", "missing", "undefined")


def target_columns(table: Table) -> dict[str, dict[str, list[str]]]:
    """Target -> its columns: one of its own name, or several called target:name."""
    targets: dict[str, dict[str, list[str]]] = {}
    names = [name for name in table.columns if name not in (SPLIT, ONE_VIEW) and not name.startswith(f"{ONE_VIEW}:")]
    prefixes = Counter(name.partition(":")[0] for name in names if ":" in name)
    for name in names:
        prefix, _, part = name.partition(":")
        several = part and prefix not in names and prefixes[prefix] > 1 and f"{ONE_VIEW}:{part}" not in table.columns
        filled = [cell for cell in table.columns[name] if cell]
        if several and 2 * sum(bool(NUMBER.fullmatch(cell)) for cell in filled) >= len(filled):
            targets.setdefault(prefix, {})[part] = table.columns[name]
        else:
            targets[name] = {name: table.columns[name]}
    return targets


@dataclass(frozen=True)
class TargetCheck:
    """Checks target columns.

    Attributes:
        table: the manifest.
        split: which split each row is in, ``[n]``.
        files: view name -> its files.
        images: file -> its summary.
        problems: where what is wrong is added.
    """

    table: Table
    split: NDArray[np.int64]
    files: Mapping[str, list[Path | None]]
    images: dict[Path, ImageSummary]
    problems: Problems

    def column(self, name: str, columns: Mapping[str, list[str]]) -> ColumnReport:
        if list(columns) != [name]:
            cells = [cell for column in columns.values() for cell in column if cell]
            kind = "multilabel" if set(cells) <= {"0", "1", "0.0", "1.0"} else "numbers"
            return self._encoded(name, encode_several(cast(ColumnKind, kind), dict(columns)))
        (cells,) = columns.values()
        kind = infer_kind(cells)
        if kind == "mask":
            return self._mask(name, cells)
        if kind in ("text", "empty"):
            if kind == "empty":
                self.problems.add("warning", name, [], "not one label")
            return self._described(kind, np.array([bool(cell) for cell in cells]))
        if kind in ("class", "multilabel"):
            self._class_names(name, cells)
        folder = self.table.path.parent
        return self._encoded(name, encode(cast(ColumnKind, kind), name, cells, None, self.split == 0, folder))

    def _described(self, kind: str, filled: NDArray[np.bool_], **more: Any) -> ColumnReport:
        holds = {"classes": {}, "numbers": {}, "names": (), **more}
        by_split = {name: int((filled & (self.split == index)).sum()) for index, name in enumerate(SPLITS)}
        return ColumnReport(kind=kind, labelled=by_split, missing=float(1 - filled.mean()), **holds)

    def _encoded(self, name: str, encoded: Encoded) -> ColumnReport:
        column, values, bad = encoded
        kind = column.kind
        self.problems.add_rows(name, bad)
        filled = labelled(kind, values)
        if kind in ("points", "boxes"):
            self._outside(name, kind, values, filled)
        self._trained(name, filled)
        if kind == "numbers":
            return self._described(kind, filled, numbers=_ranges(column, values), names=column.names)
        labels = column.names if kind != "points" else ()
        if kind == "boxes":
            values = values[..., 0]
        elif kind == "multilabel":
            values = np.where(values == 1, np.arange(len(labels)), -1)
        counts = {
            label: {split: int((values[self.split == place] == index).sum()) for place, split in enumerate(SPLITS)}
            for index, label in enumerate(labels)
        }
        self._everywhere(name, counts)
        return self._described(kind, filled, classes=counts, names=column.names)

    def _everywhere(self, name: str, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Warns of classes that a split lacks, where it has others."""
        for split in SPLITS[1:]:
            missing = [label for label, by_split in counts.items() if not by_split[split]]
            if missing and len(missing) < len(counts):
                self.problems.add("warning", name, [], f"classes without a {split} sample: {listed(missing)}")

    def _trained(self, name: str, filled: NDArray[np.bool_]) -> None:
        if not filled[self.split == 0].any():
            self.problems.add("warning", name, [], "not one label in the training rows")

    def _images(self, name: str) -> list[Path | None]:
        """The images that a target in pixels lies on."""
        return self.files.get(view_of(name, self.files), [None] * len(self.table))

    def _outside(self, name: str, kind: str, values: NDArray[Any], filled: NDArray[np.bool_]) -> None:
        """Errors where places are outside their image, or have none."""
        paths = self._images(name)
        unknown = (1 << 30, 1 << 30)  # a size that nothing is outside of
        sizes = [self.images[path].size if path in self.images else unknown for path in paths]
        outside = Fit(np.array(sizes), (1, 1)).outside(values).any(axis=1)
        if outside.any():
            self.problems.add("error", name, np.flatnonzero(outside), f"{kind} outside the image")
        blind = filled & np.array([path is None for path in paths])
        if self.files and blind.any():
            view = view_of(name, self.files)
            self.problems.add("error", name, np.flatnonzero(blind), f"labelled, but camera {view!r} has no image")

    def _class_names(self, name: str, cells: Sequence[str]) -> None:
        spelled: dict[str, set[str]] = {}
        for cell in dict.fromkeys(cells):
            for label in parse.SEPARATORS.split(cell):
                spelled.setdefault(" ".join(label.lower().split()), set()).add(label.strip())
        for label, forms in spelled.items():
            rows = [row for row, cell in enumerate(cells) if cell in forms]
            if label in SEEMS_MISSING and rows and not (label == parse.NO_CLASS and infer_kind(cells) == "multilabel"):
                self.problems.add(
                    "warning", name, rows, f"{min(forms)!r} is read as a class: a missing label is an empty cell"
                )
            elif len(forms) > 1:
                self.problems.add("warning", name, [], f"spelled differently: {' and '.join(sorted(map(repr, forms)))}")

    def _mask(self, name: str, cells: Sequence[str]) -> ColumnReport:
        paths = self.table.files(name)
        masks, failures = in_threads(_pixels_of_classes, paths)
        counts = np.zeros((len(SPLITS), 256), np.int64)
        bad = []
        for row, (path, image) in enumerate(zip(paths, self._images(name), strict=True)):
            if path in failures:
                bad.append((row, f"{cells[row]}: {failures[path]}"))
            if path not in masks:
                continue
            pixels, size = masks[path]
            counts[self.split[row]] += pixels
            if image in self.images and (upright := self.images[image].size) != size:
                bad.append((row, f"the mask is {size_text(size)}, its image {size_text(upright)} (width x height)"))
        self.problems.add_rows(name, bad)
        used = np.flatnonzero(counts.sum(axis=0)[:VOID])
        if unknown := [index for index in used if not counts[0, index]]:
            self.problems.add("error", name, [], f"class indices that no training mask has: {listed(unknown)}")
        if used.tolist() == [0] and counts[:, VOID].any():
            self.problems.add("error", name, [], "only 0 and 255, and 255 means unlabelled: save the second class as 1")
        classes = {str(index): dict(zip(SPLITS, counts[:, index].tolist(), strict=True)) for index in used}
        filled = np.array([path in masks for path in paths])
        self._trained(name, filled)
        return self._described("mask", filled, classes=classes)


def _pixels_of_classes(path: Path) -> tuple[NDArray[np.intp], Size]:
    """How many pixels have each value ``[256]``, and height and width."""
    values = read_mask(path)
    return np.bincount(values.ravel(), minlength=256), (values.shape[0], values.shape[1])


def _ranges(column: Column, values: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    ranges = {}
    for index, name in enumerate(column.names):
        valid = values[:, index][~np.isnan(values[:, index])].astype(np.float64)
        if len(valid):
            low, high, mean, std = valid.min(), valid.max(), valid.mean(), valid.std()
            ranges[name] = {"min": float(low), "mean": float(mean), "max": float(high), "std": float(std)}
    return ranges
