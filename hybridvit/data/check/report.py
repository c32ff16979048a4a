"""The report on a manifest, as data and as a page of text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hybridvit.data.readers.geometry import Size
from hybridvit.data.readers.table import Table, listed

ROWS_KEPT = 100  # of a problem
CLASSES_SHOWN = 12


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something wrong.

    Attributes:
        level: an error is refused when the manifest is read, or spoils the result; a warning may be meant so.
        where: column, or "" for the whole table.
        rows: rows as a spreadsheet numbers them, the first hundred.
        count: how many rows there are.
        text: what is wrong.
        shown: the first of the rows, as the page shows them.
    """

    level: Literal["error", "warning"]
    where: str
    rows: tuple[int, ...]
    count: int
    text: str
    shown: str = ""


class Problems:
    """What is wrong with a table, collected."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.items: list[Problem] = []

    def add(
        self, level: Literal["error", "warning"], where: str, rows: Iterable[int], text: str, shown: str | None = None
    ) -> None:
        """A problem with rows given by their index; ``shown`` replaces the first rows on the page."""
        numbers = sorted({self.table.rows[row] for row in rows})
        if shown is None:
            shown = f"row{'s' if len(numbers) > 1 else ''} {listed(numbers)}" if numbers else ""
        kept = tuple(numbers[:ROWS_KEPT])
        self.items.append(Problem(level=level, where=where, rows=kept, count=len(numbers), text=text, shown=shown))

    def add_rows(self, where: str, bad: Sequence[tuple[int, str]]) -> None:
        """Errors by row, those with the same words together."""
        together: dict[str, list[int]] = {}
        for row, text in bad:
            together.setdefault(text, []).append(row)
        for text, rows in together.items():
            self.add("error", where, rows, text)


@dataclass(frozen=True, kw_only=True)
class ViewReport:
    """Images of one camera.

    Attributes:
        column: the column that names the files.
        images: rows with an image.
        missing: share of rows without.
        sizes: "width x height" in pixels -> number of images, most frequent first.
        grey: share of images without colours.
    """

    column: str
    images: int
    missing: float
    sizes: Mapping[str, int]
    grey: float


@dataclass(frozen=True, kw_only=True)
class ColumnReport:
    """One target column.

    Attributes:
        kind: what it seems to hold; "text" for what no task can use, "empty" for no label at all.
        labelled: split -> rows with a label.
        missing: share of rows without.
        classes: class -> split -> how often: samples, boxes, or pixels of masks.
        numbers: component -> its least value, mean, largest value and standard deviation.
        names: points or components, in order.
    """

    kind: str
    labelled: Mapping[str, int]
    missing: float
    classes: Mapping[str, Mapping[str, int]]
    numbers: Mapping[str, Mapping[str, float]]
    names: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A checked manifest.

    Attributes:
        path: the file.
        rows: split -> number of rows.
        views: view name -> its images.
        columns: target column -> what it holds.
        problems: the worst first.
    """

    path: str
    rows: Mapping[str, int]
    views: Mapping[str, ViewReport]
    columns: Mapping[str, ColumnReport]
    problems: Sequence[Problem]

    @property
    def errors(self) -> int:
        return sum(problem.level == "error" for problem in self.problems)

    @property
    def warnings(self) -> int:
        return len(self.problems) - self.errors

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, with the number of errors and warnings."""
        return {**dataclasses.asdict(self), "errors": self.errors, "warnings": self.warnings}


def size_text(size: Size) -> str:
    """Width and height, as image viewers show them."""
    return f"{size[1]}x{size[0]}"


def format_report(report: Report) -> str:
    """A page for the terminal: the verdict, what is wrong, and what the manifest holds."""
    total = sum(report.rows.values())
    verdict = "nothing wrong" if not report.problems else _count(report.errors, "error")
    if report.warnings:
        verdict += f", {_count(report.warnings, 'warning')}"
    parts = [f"{report.path}: {_count(total, 'row')}, {verdict}"]
    if report.problems:
        parts.append("\n".join(map(_problem, report.problems)))
    if total:
        parts.append(_table([["split", "rows"], *([split, f"{rows:,}"] for split, rows in report.rows.items())]))
    if report.views:
        rows = [["camera", "images", "missing", "grey", "width x height"]]
        for name, view in report.views.items():
            rows.append([name, f"{view.images:,}", _share(view.missing), _share(view.grey), _sizes(view.sizes)])
        parts.append(_table(rows, left=(0, 4)))
    if report.columns:
        splits = [split for split, count in report.rows.items() if count]
        rows = [["target", "seems to be", "missing", *(f"{split} labels" for split in splits), "holds"]]
        for name, column in report.columns.items():
            labels = [f"{column.labelled.get(split, 0):,}" for split in splits]
            rows.append([name, column.kind, _share(column.missing), *labels, _holds(column)])
        parts.append(_table(rows, left=(0, 1, len(rows[0]) - 1)))
        parts += [_classes(name, column, splits) for name, column in report.columns.items() if column.classes]
    return "\n\n".join(parts)


def _problem(problem: Problem) -> str:
    where = f"{problem.where}: " if problem.where else ""
    shown = f" [{problem.shown}]" if problem.shown else ""
    return f"{problem.level:7}  {where}{problem.text}{shown}"


def _classes(name: str, column: ColumnReport, splits: Sequence[str]) -> str:
    """How often each class occurs; of many classes the most and the least frequent."""
    counts = {label: [by_split.get(split, 0) for split in splits] for label, by_split in column.classes.items()}
    order = sorted(counts, key=lambda label: -sum(counts[label]))
    shown = order if len(order) <= CLASSES_SHOWN else order[: CLASSES_SHOWN // 2] + order[-CLASSES_SHOWN // 2 :]
    unit = {"mask": "pixels", "boxes": "boxes"}.get(column.kind, "samples")
    rows = [[f"{name} ({unit})", *splits]]
    for index, label in enumerate(shown):
        if len(shown) < len(order) and index == CLASSES_SHOWN // 2:
            rows.append([f"... {len(order) - len(shown)} more", *("" for _ in splits)])
        rows.append([f"  {label}", *(f"{count:,}" for count in counts[label])])
    return _table(rows)


def _holds(column: ColumnReport) -> str:
    if column.numbers:
        texts = [
            f"{'' if len(column.numbers) == 1 else name + ': '}{ranges['min']:.4g} to {ranges['max']:.4g}, "
            f"mean {ranges['mean']:.4g} ± {ranges['std']:.4g}"
            for name, ranges in column.numbers.items()
        ]
        return "; ".join(texts[:3]) + (f"; {len(texts) - 3} more" if len(texts) > 3 else "")
    if column.classes:
        return _count(len(column.classes), "class", "classes")
    if column.kind == "points":
        return f"{_count(len(column.names), 'point')}: {listed(column.names)}"
    return ""


def _sizes(sizes: Mapping[str, int]) -> str:
    if len(sizes) == 1:
        return next(iter(sizes))
    texts = [f"{size} ({count:,})" for size, count in list(sizes.items())[:3]]
    return ", ".join(texts) + (f", {len(sizes) - 3} other sizes" if len(sizes) > 3 else "")


def _table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Aligned columns under a ruled header; those not in ``left`` are aligned to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(widths[i]) if i in left else cell.rjust(widths[i]) for i, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "-" * (sum(widths) + 2 * (len(widths) - 1)))
    return "\n".join(lines)


def _share(share: float) -> str:
    return "none" if share == 0 else "<0.1%" if share < 0.001 else f"{share:.1%}"


def _count(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"
