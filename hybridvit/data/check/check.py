"""Checks a manifest: what it holds, and everything that is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from hybridvit.data.check.duplicates import groups, near_duplicates, summarise_image
from hybridvit.data.check.report import ROWS_KEPT, Problem, Problems, Report, ViewReport, format_report, size_text
from hybridvit.data.check.targets import TargetCheck, target_columns
from hybridvit.data.readers.image_io import in_threads
from hybridvit.data.readers.table import SPLIT, Table, listed, read_table
from hybridvit.data.samples import SPLITS

__all__ = ["Report", "check_manifest", "format_report"]


def check_manifest(path: Path) -> Report:
    """Reads everything that the manifest names; reports what it holds and what is wrong, and never raises for it."""
    try:
        table = read_table(path)
    except ValueError as error:
        problem = Problem(level="error", where="", rows=(), count=0, text=str(error).removeprefix(f"{path} "))
        return Report(path=str(path), rows={}, views={}, columns={}, problems=[problem])
    return _Check(table).report()


class _Check:
    """The check of one table."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.problems = Problems(table)
        self.split, bad = table.splits()
        self.problems.add_rows(SPLIT, bad)
        try:
            self.views = table.views()
        except ValueError as error:
            self.views = {}
            self.problems.add("error", "", [], str(error).removeprefix(f"{table.path} "))
        self.files = {view: table.files(column) for view, column in self.views.items()}
        self.images, self.unreadable = in_threads(summarise_image, chain(*self.files.values()))

    def report(self) -> Report:
        self._rows()
        views = {view: self._view(view, column) for view, column in self.views.items()}
        targets = target_columns(self.table)
        described = TargetCheck(self.table, self.split, self.files, self.images, self.problems)
        columns = {name: described.column(name, cells) for name, cells in targets.items()}
        for view, column in self.views.items():
            self._same(view, column)
        self._conflicts({name: targets[name] for name, column in columns.items() if column.kind != "text"})
        problems = sorted(self.problems.items, key=lambda problem: (problem.level, bool(problem.where), -problem.count))
        rows = {name: int((self.split == index).sum()) for index, name in enumerate(SPLITS)}
        return Report(path=str(self.table.path), rows=rows, views=views, columns=columns, problems=problems)

    def _rows(self) -> None:
        for number, text in self.table.ragged[:ROWS_KEPT]:
            problem = Problem(level="error", where="", rows=(number,), count=1, text=text, shown=f"row {number}")
            self.problems.items.append(problem)
        if not (self.split == 0).any():
            self.problems.add("error", SPLIT, [], "no row is for training")
        if self.views:
            blind = [row for row, paths in enumerate(zip(*self.files.values(), strict=True)) if not any(paths)]
            if blind:
                self.problems.add("error", ", ".join(self.views.values()), blind, "no camera has an image")

    def _view(self, view: str, column: str) -> ViewReport:
        paths = self.files[view]
        images = [self.images[path] for path in paths if path in self.images]
        cells = self.table.columns[column]
        bad = [
            (row, f"{cells[row]}: {self.unreadable[path]}") for row, path in enumerate(paths) if path in self.unreadable
        ]
        self.problems.add_rows(column, bad)
        sizes = Counter(image.size for image in images)
        if len(sizes) > 1:
            usual, often = sizes.most_common(1)[0]
            others = [row for row, path in enumerate(paths) if path in self.images and self.images[path].size != usual]
            most = f", most of them {size_text(usual)}" if 2 * often > len(images) else ""
            text = f"images of {len(sizes)} sizes{most}: reading needs --data.image_size"
            self.problems.add("warning", column, others, text)
        return ViewReport(
            column=column,
            images=len(images),
            missing=sum(path is None for path in paths) / len(paths),
            sizes={size_text(size): count for size, count in sizes.most_common()},
            grey=sum(image.grey for image in images) / max(len(images), 1),
        )

    def _same(self, view: str, column: str) -> None:
        """Equal images in several rows, or nearly equal ones in different splits."""
        images = [self.images.get(path) if path else None for path in self.files[view]]
        leaks: dict[tuple[int, ...], list[list[int]]] = {}
        again = []
        for rows in groups([image.digest if image else None for image in images]):
            if len(splits := tuple(np.unique(self.split[rows]).tolist())) > 1:
                leaks.setdefault(splits, []).append(rows)
            elif splits == (0,):
                again.append(rows)
        for splits, duplicates in leaks.items():
            *others, last = (SPLITS[split] for split in splits)
            where = f"{', '.join(others)} and {last}"
            count = "1 image is" if len(duplicates) == 1 else f"{len(duplicates)} images are"
            text = f"{count} in {where}, pixel for pixel"
            self.problems.add("error", column, chain(*duplicates), text, self._pairs(duplicates))
        if again:
            text = f"{len(again)} training image{'s' * (len(again) > 1)} more than once"
            self.problems.add("warning", column, chain(*again), text, self._pairs(again))
        first = {image.digest: row for row, image in reversed(list(enumerate(images))) if image}
        different = np.array(sorted(first.values()), np.int64)
        if not len(different):
            return
        small = np.stack([image.small for row in different if (image := images[row])])
        near = different[near_duplicates(small, self.split[different])].tolist()
        if near:
            text = f"{len(near)} pair{'s' * (len(near) > 1)} in different splits look the same"
            self.problems.add("warning", column, chain(*near), text, self._pairs(near))

    def _pairs(self, duplicates: Sequence[Sequence[int]]) -> str:
        """The first rows of each group, as in "rows 3 = 17, 4 = 90"."""
        texts = [" = ".join(str(self.table.rows[row]) for row in rows[:3]) for rows in duplicates]
        return f"rows {listed(texts)}"

    def _conflicts(self, targets: Mapping[str, Mapping[str, list[str]]]) -> None:
        """Equal images with different labels."""
        digests: list[tuple[bytes | None, ...]] = [
            tuple(self.images[path].digest if path in self.images else None for path in paths)
            for paths in zip(*self.files.values(), strict=True)
        ]
        same = groups([key if any(key) else None for key in digests])
        for name, columns in targets.items():
            conflicts = []
            for rows in same:
                labels = {tuple(column[row] for column in columns.values()) for row in rows}
                if len({label for label in labels if any(label)}) > 1:
                    conflicts.append(rows)
            if conflicts:
                text = "the same image with different labels"
                self.problems.add("warning", name, chain(*conflicts), text, self._pairs(conflicts))
