"""Samples in memory: images of one or several cameras, their targets, and the three splits of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.file_images import FileImages, Images, pixels
from hybridvit.data.rig import Rig

ONE_VIEW = "image"  # what the view is called where there is only one
VOID = 255  # the value of a mask's pixels that have no label

SPLITS = ("train", "validation", "test")
ColumnKind = Literal["class", "multilabel", "numbers", "mask", "points", "boxes", "teacher"]


@dataclass(frozen=True)
class Column:
    """What a target column holds, and what its missing labels look like.

    ========== ========================================= ==================================================
    kind       array                                     missing
    ========== ========================================= ==================================================
    class      int64 ``[n]``, an index into names        -1
    multilabel int64 ``[n, k]``, 0 or 1 for each name    -1
    numbers    float32 ``[n, k]``, one for each name     NaN
    mask       uint8 ``[n, h, w]``, an index into names  255
    points     float32 ``[n, k, 2]``, x and y in pixels  NaN
    boxes      float32 ``[n, m, 5]``: index into names,  NaN throughout; rows of class -1 pad a labelled
               x1, y1, x2, y2 in pixels                  image
    teacher    float32 ``[n, k]``, a logit for each name NaN
    ========== ========================================= ==================================================

    Pixel coordinates are continuous: 0 is the left (upper) edge of the image, its width (height) the right
    (lower) one.

    Attributes:
        kind: what the column holds.
        names: classes, components or points.
    """

    kind: ColumnKind
    names: tuple[str, ...]


def labelled(kind: ColumnKind, values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which samples have any label in this column, ``[n]``."""
    if kind in ("class", "multilabel"):
        valid = values >= 0
    elif kind == "mask":
        valid = values != VOID
    else:
        valid = ~np.isnan(values)
    flat: Any = valid.reshape(len(values), int(np.prod(valid.shape[1:])))
    has_label: NDArray[np.bool_] = flat.any(axis=1)
    return has_label


def missing(kind: ColumnKind) -> float:
    """The value that stands for no label in a column of this kind."""
    return {"class": -1, "multilabel": -1, "mask": VOID}.get(kind, np.nan)


@dataclass(frozen=True)
class Samples:
    """Images and their targets, sample by sample.

    Attributes:
        views: view name -> ``[n, c, h, w]``, uint8, in memory or on disk; a single view is called "image".
        targets: column name -> array, as :class:`Column` says.
        present: view name -> ``[n]``, whether the sample has that view; every sample has a view that is not named.
        source: which of several data sets the sample is from, ``[n]``; None: there is only one.
    """

    views: Mapping[str, Images]
    targets: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    present: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    source: NDArray[np.int64] | None = None

    @property
    def sources(self) -> NDArray[np.int64]:
        """The data set of each sample, ``[n]``; 0 where there is only one."""
        return self.source if self.source is not None else np.zeros(len(self), np.int64)

    @property
    def on_disk(self) -> bool:
        """Whether images stay in their files."""
        return any(isinstance(images, FileImages) for images in self.views.values())

    @property
    def nbytes(self) -> int:
        """What the pixels take in memory, or would."""
        return sum(images.nbytes for images in self.views.values())

    def in_memory(self) -> Samples:
        """The same samples with their images read.

        Raises:
            ValueError: naming the files that cannot be read.
        """
        return replace(self, views={view: pixels(images) for view, images in self.views.items()})

    @property
    def presence(self) -> dict[str, NDArray[np.bool_]]:
        """Where there are several views, which samples have each of them, ``[n]``; empty where there is one."""
        several = self.views if self.views.keys() != {ONE_VIEW} else ()
        return {view: self.present.get(view, np.ones(len(self), bool)) for view in several}

    def __len__(self) -> int:
        return len(next(iter(self.views.values())))

    def __getitem__(self, index: slice | NDArray[np.integer] | NDArray[np.bool_]) -> Samples:
        return Samples(
            {name: images[index] for name, images in self.views.items()},
            {name: values[index] for name, values in self.targets.items()},
            {name: present[index] for name, present in self.present.items()},
            None if self.source is None else self.source[index],
        )


def read_all(several: Sequence[Samples]) -> tuple[list[Samples], dict[Path, str]]:
    """The same samples with the images of their files in memory, zeros for files that cannot be read; and why not."""
    read = []
    unreadable: dict[Path, str] = {}
    for samples in several:
        views = dict(samples.views)
        for view, images in samples.views.items():
            if isinstance(images, FileImages):
                views[view], wrong = images.read_readable()
                unreadable |= wrong
        read.append(replace(samples, views=views))
    return read, unreadable


@dataclass(frozen=True)
class Splits:
    """A data set ready for use; a split that the data does not have is empty.

    Attributes:
        name: what the data set is called in reports.
        columns: what the target columns hold.
        train: samples to learn from.
        validation: samples to select on.
        test: samples to report on, read once.
        rig: where the cameras are, if the views come from calibrated ones.
    """

    name: str
    columns: Mapping[str, Column]
    train: Samples
    validation: Samples
    test: Samples
    rig: Rig | None = None

    @classmethod
    def from_arrays(
        cls,
        images: Any,
        targets: Any,
        *,
        validation: Any = 0.2,
        test: Any = 0.2,
        columns: Mapping[str, Column] | None = None,
        seed: int = 0,
        name: str = "arrays",
    ) -> Splits:
        """Splits of images and targets in memory.

        Without ``columns``, the training targets say what a column holds:

        - whole numbers, booleans or text ``[n]``: classes, one for each distinct label, sorted; -1, None and "" are
          missing;
        - floats ``[n]`` or ``[n, k]``: numbers; NaN and None are missing;
        - whole numbers ``[n, h, w]`` of the images' size: masks of class indices; 255 is missing.

        Args:
            images: ``[n, h, w]``, ``[n, h, w, c]`` or ``[n, c, h, w]``, uint8 or floats in [0, 1], kept to 8 bits. The
                axis with at most four entries holds the channels.
            targets: column name -> n targets; a single array or list is the column "label".
            validation: share of the images left after the test that is set apart, or a pair (images, targets).
            test: share of all images that is set apart, or a pair (images, targets). Shares are stratified by the
                first column of classes; 0 and None leave a split empty.
            columns: what a column holds, where that is not to be inferred. Whole numbers are then indices into the
                names.
            seed: of the shares.
            name: what the data set is called in reports.

        Raises:
            ValueError: naming the split and item that does not fit, and what was expected.
        """
        from hybridvit.data.from_arrays import from_arrays

        return from_arrays(images, targets, validation, test, columns, seed, name)

    @classmethod
    def from_datasets(
        cls,
        train: Any,
        validation: Any = None,
        test: Any = None,
        *,
        columns: Mapping[str, Column] | None = None,
        name: str | None = None,
        memory: float | None = None,
    ) -> Splits:
        """Splits of map-style datasets, such as ``torch.utils.data.Dataset`` and torchvision's, or sequences.

        An item is ``(image, target)``, ``(image, {name: target})`` or ``{"image": image, name: target}``; a target
        without a name is the column "label". An image is a PIL image or an array or tensor ``[h, w]``, ``[h, w, c]``
        or ``[c, h, w]``, as for :meth:`from_arrays`. A target is a class (whole number or text), a float, a vector of
        floats, or a mask ``[h, w]``; None is missing. The rule of :meth:`from_arrays` says what a column holds.

        Every item is read once and held in memory as uint8. Random transforms therefore belong in the recipe's
        ``augment``, and Normalize must be left out.

        Args:
            train: samples to learn from.
            validation: samples to select on; None: the split is empty.
            test: samples to report on; None: the split is empty.
            columns: as for :meth:`from_arrays`.
            name: what the data set is called in reports; None: as the class of ``train``.
            memory: GiB that the images may take; None: a third of what is free.

        Raises:
            ValueError: naming the split and item that does not fit, and what was expected; or the images take more.
        """
        from hybridvit.data.from_datasets import from_datasets

        return from_datasets({"train": train, "validation": validation, "test": test}, columns, name, memory)

    def map(self, function: Callable[[Samples], Samples]) -> Splits:
        """The same data set with each split as the function gives it."""
        train, validation, test = map(function, (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)

    @property
    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Channels, height and width of each view."""
        return {name: (c, h, w) for name, images in self.train.views.items() for c, h, w in [images.shape[1:]]}
