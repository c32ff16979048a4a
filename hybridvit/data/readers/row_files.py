"""The files that the rows of a manifest name, read and brought to one size together with what lies on them."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.file_images import FileImages, Images
from hybridvit.data.loaders.memory import GIB, free_host_bytes
from hybridvit.data.readers.geometry import Fit, Size
from hybridvit.data.readers.image_io import common_size, fit_mask, in_threads, list_unreadable, read_header, read_mask
from hybridvit.data.readers.table import Table, listed
from hybridvit.data.samples import VOID, Column, ColumnKind, labelled

IN_PIXELS = ("points", "boxes")


class RowFiles:
    """Images and masks of a manifest's rows.

    Files that cannot be read are collected while reading, so ``kept`` comes last.

    Attributes:
        images: view -> the file of each row.
        masks: target -> the file of each row, for masks that were read.
        unreadable: file -> why it cannot be read.
        sizes: view -> height and width that its images get.
    """

    def __init__(self, table: Table, image_size: int | tuple[int, int] | None) -> None:
        self.table = table
        views = table.views()
        self.images = {view: table.files(column) for view, column in views.items()}
        self.masks: dict[str, list[Path | None]] = {}
        blind = [row for row, paths in enumerate(zip(*self.images.values(), strict=True)) if not any(paths)]
        table.refuse(next(iter(views.values())), [(row, "no camera has an image") for row in blind])
        self.headers, self.unreadable = in_threads(read_header, chain(*self.images.values()))
        self.sizes: dict[str, Size] = {}
        for view, paths in self.images.items():
            headers = {path: self.headers[path] for path in paths if path in self.headers}
            self.sizes[view] = common_size(headers, image_size)

    def views(self) -> dict[str, Images]:
        """View name -> the images of all rows, on disk; grey if all of them are, and missing where unreadable."""
        views: dict[str, Images] = {}
        for view, paths in self.images.items():
            readable = [path if path in self.headers else None for path in paths]
            grey = all(self.headers[path].grey for path in readable if path)
            views[view] = FileImages.of(readable, 1 if grey else 3, self.sizes[view])
        return views

    def present(self) -> dict[str, NDArray[np.bool_]]:
        """View name -> which rows have it, ``[n]``, for those that some rows lack."""
        return {
            view: np.array([path is not None for path in paths]) for view, paths in self.images.items() if None in paths
        }

    def kept(self, skip_unreadable: bool) -> NDArray[np.bool_]:
        """Rows all of whose files can be read, ``[n]``."""
        per_row = list(zip(*self.images.values(), *self.masks.values(), strict=True))
        kept = np.array([not any(path in self.unreadable for path in paths) for paths in per_row])
        if self.unreadable:
            rows = [self.table.rows[row] for row in np.flatnonzero(~kept)]
            files = f"{list_unreadable(self.unreadable)}; in row{'s' * (len(rows) > 1)} {listed(rows)}"
            if not skip_unreadable:
                raise ValueError(f"{self.table.path}: {files} (skip them: --data.skip_unreadable)")
            warnings.warn(f"{self.table.path}: skipped {len(rows)} row{'s' * (len(rows) > 1)}: {files}", stacklevel=3)
        return kept

    def _frame(self, name: str, labelled_rows: NDArray[np.bool_]) -> tuple[list[Path | None], Fit]:
        """The images that a target in pixels lies on, and how they are cropped.

        Raises:
            ValueError: a row has the label, but no image.
        """
        view = view_of(name, self.images)
        paths, size = self.images[view], self.sizes[view]
        blind = np.flatnonzero(labelled_rows & np.array([path is None for path in paths]))
        self.table.refuse(name, [(row, f"labelled, but camera {view!r} has no image") for row in blind.tolist()])
        before = [self.headers[path].size if path in self.headers else size for path in paths]
        return paths, Fit(np.array(before), size)

    def moved(self, name: str, kind: ColumnKind, values: NDArray[Any]) -> NDArray[Any]:
        """Points and boxes in the pixels of the resized images."""
        if kind not in IN_PIXELS:
            return values
        paths, fit = self._frame(name, labelled(kind, values))
        bad = [
            (row, f"{_at(values[row, place])} is outside the image, {_text(fit.before[row])}")
            for row, place in np.argwhere(fit.outside(values))
            if paths[row] in self.headers
        ]
        self.table.refuse(name, bad)
        return fit.points(values) if kind == "points" else fit.boxes(values)

    def mask(
        self, name: str, names: tuple[str, ...] | None, train: NDArray[np.bool_]
    ) -> tuple[Column, NDArray[np.uint8]]:
        """The column of masks, and their pixels as large as the resized images."""
        paths = self.masks[name] = self.table.files(name)
        images, fit = self._frame(name, np.array([path is not None for path in paths]))
        height, width = fit.after
        needed, free = len(paths) * height * width, free_host_bytes()
        if needed > free:
            raise ValueError(
                f"{self.table.path}: masks of column {name!r} are held in memory and take {needed / GIB:.1f} GiB, but "
                f"only {free / GIB:.1f} GiB are free: use a smaller data.image_size"
            )
        array = np.full((len(paths), height, width), VOID, np.uint8)

        def fill(job: tuple[int, Path]) -> tuple[tuple[int, ...], NDArray[np.intp]]:
            row, path = job
            values = read_mask(path)
            array[row] = fit_mask(values, fit.after)
            return values.shape, np.flatnonzero(np.bincount(values.ravel(), minlength=256))

        done, failures = in_threads(fill, [(row, path) for row, path in enumerate(paths) if path])
        self.unreadable |= {path: why for (_, path), why in failures.items()}
        bad = []
        for (row, _), (size, _) in done.items():
            image = images[row]
            if image in self.headers and (header := self.headers[image]).size != size:
                turned = " once turned as its EXIF orientation says" if header.turned else ""
                bad.append((row, f"the mask is {_text(size)}, its image {_text(header.size)}{turned}"))
        self.table.refuse(name, bad)
        values_of = {row: values for (row, _), (_, values) in done.items()}
        used = set().union(*(values.tolist() for row, values in values_of.items() if train[row]))
        if used == {0, VOID}:
            raise ValueError(
                f"{self.table.path}: masks of column {name!r} hold only 0 and 255, and 255 means unlabelled: "
                "save the second class as 1"
            )
        if names is None:
            names = tuple(str(index) for index in range(max(used - {VOID}, default=-1) + 1))
        bad = []
        for row, values in values_of.items():
            if len(unknown := values[(values >= len(names)) & (values != VOID)]):
                bad.append(
                    (row, f"class index {unknown[0]} in {paths[row]} is not below {len(names)}, the number of classes")
                )
        self.table.refuse(name, bad)
        return Column("mask", names), array


def view_of(target: str, views: Collection[str]) -> str:
    """The camera that a target in pixels belongs to: the one that its name ends with, else the first ("": none)."""
    camera = target.partition(":")[2]
    return camera if camera in views else next(iter(views), "")


def _text(size: Any) -> str:
    return f"{size[0]} pixels high and {size[1]} wide"


def _at(values: NDArray[np.float32]) -> str:
    """A point, or the corners of a box."""
    what = "point" if len(values) == 2 else "box"
    return f"{what} [{', '.join(f'{value:g}' for value in values[-4:])}]"
