"""Samples in memory, from a named data set, a manifest, a folder per class, one .npz file or a synthetic rig; split."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hybridvit.config import Config
from hybridvit.data.loaders.memory import allowed_bytes
from hybridvit.data.readers.manifest import ColumnRequest
from hybridvit.data.readers.roots import read_roots
from hybridvit.data.resize import resized
from hybridvit.data.samples import Samples, Splits, missing
from hybridvit.data.sets.named import NAMED
from hybridvit.data.subset import stratified_order, stratified_split
from hybridvit.data.synthetic.dataset import synthetic_rig


class SyntheticConfig(Config):
    """Made-up scenes around a vehicle, whose every answer is known; see :func:`synthetic_rig`.

    Attributes:
        samples: number of samples in all; a sixth each is for validation and for testing.
        cameras: number of cameras, 4 to 8.
        size: height and width of the images, in pixels.
        grid: rows and columns of the grid on the ground.
        extent: where the grid begins and ends along x (forward), then along y (left), in metres.
        seed: of the scenes, and of which cameras are missing.
        missing: share of cameras that are missing.
    """

    samples: int = 1200
    cameras: int = 6
    size: tuple[int, int] = (32, 48)
    grid: tuple[int, int] = (16, 16)
    extent: tuple[float, float, float, float] = (-8.0, 8.0, -8.0, 8.0)
    seed: int = 0
    missing: float = 0.0


class DataConfig(Config):
    """Which images to learn from, and how they are split.

    Attributes:
        dataset: a named data set, looked for in root or in the folder that the variable HYBRIDVIT_DATA names; mnist,
            fashionmnist, cifar10 and cifar100 are downloaded there where they are not, or to ~/.cache/hybridvit where
            no folder is named. None: what root holds, or digits without a root.
        root: a manifest (.csv, .parquet), with the geometry of its cameras in a rig.json beside it, if any; a folder
            with one folder of images for each class, or the same under train/, val/ and test/; or an .npz file in
            the MedMNIST layout. Several: their samples together, each with the labels that it has.
        image_size: height and width in pixels that images are cropped and resized to; None: as they are.
        train_images: number of labelled images to use, a nested stratified subset; None: all.
        validation: share of those set apart for selection, where the data has no validation split.
        test: share of all images set apart for the test, where the data has no test split.
        stratify: column of classes that splits and subsets are stratified by; None: the first that a task reads.
        split_seed: seed of the splits; the run's own seed draws the subset.
        skip_unreadable: go on without image files that cannot be read, naming them.
        hide: target column -> share of its training labels that are hidden, to see what missing labels cost.
        names: target column -> its classes, components or points in order; a column that is not named here has
            those that its training labels have.
        memory: GiB that the decoded images of folders and manifests may take; those that take more stay on disk, and
            worker processes read them as they are needed. None: a third of the memory that is free on this host and,
            where there is a CUDA device, of what is free there, whichever is less.
        synthetic: instead of files, made-up scenes seen by the cameras of a vehicle; None: files.
    """

    dataset: (
        Literal[
            "digits",
            "mnist",
            "fashionmnist",
            "multi_fashion_mnist",
            "cifar10",
            "cifar100",
            "cifair10",
            "cifair100",
            "camvid",
        ]
        | None
    ) = None
    root: str | tuple[str, ...] | None = None
    image_size: int | tuple[int, int] | None = None
    train_images: int | None = None
    validation: float = 0.2
    test: float = 0.2
    stratify: str | None = None
    split_seed: int = 0
    skip_unreadable: bool = False
    hide: dict[str, float] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    memory: float | None = None
    synthetic: SyntheticConfig | None = None

    def __post_init__(self) -> None:
        for name, share in (("validation", self.validation), ("test", self.test)):
            if not 0 <= share < 1:
                raise ValueError(f"{name} is a share in [0, 1), given {share}")
        if self.train_images is not None and self.train_images < 1:
            raise ValueError(f"train_images must be at least 1, given {self.train_images}")
        for name, share in self.hide.items():
            if not 0 <= share <= 1:
                raise ValueError(f"hide.{name} is a share in [0, 1], given {share}")
        if self.memory is not None and not self.memory >= 0:
            raise ValueError(f"memory is a number of GiB, 0 or more, given {self.memory}")
        if self.memory is not None and not _files(self.root, self.dataset):
            raise ValueError("memory has no effect: only images of folders and manifests may stay on disk")
        if self.synthetic is not None and (self.root, self.dataset, self.image_size) != (None, None, None):
            raise ValueError("synthetic scenes make their own images, so dataset, root and image_size have no effect")


def _files(root: str | tuple[str, ...] | None, dataset: str | None) -> bool:
    """Whether any root holds images as files of their own."""
    roots = (root,) if isinstance(root, str) else root or ()
    return dataset is None and any(not path.endswith(".npz") for path in roots)


def load(
    config: DataConfig,
    seed: int,
    wanted: Mapping[str, ColumnRequest],
    further: Mapping[str, ColumnRequest] | None = None,
) -> Splits:
    """Reads the images and splits them; ``seed`` draws the subset when fewer images are asked for.

    Args:
        config: which images.
        seed: of the run.
        wanted: target columns, and what they should hold; the first column of classes stratifies the splits, if
            ``stratify`` does not name another.
        further: more of them, which do not change how the data is split.

    Raises:
        ValueError: root holds no data, a column is not there or of another kind, a class has no images,
            a file cannot be read, or more training images are asked for than there are.
    """
    by = config.stratify or next((name for name, request in wanted.items() if request.kind == "class"), None)
    both = {**({by: ColumnRequest("class", config.names.get(by))} if by else {}), **(further or {}), **wanted}
    for name, request in (further or {}).items():
        if name in wanted and wanted[name].kind != request.kind:
            raise ValueError(f"column {name!r} holds {wanted[name].kind} for one task, {request.kind} for another")
    memory = allowed_bytes(config.memory) if _files(config.root, config.dataset) else 0
    splits = _with_columns(_read(config, both, memory), both)
    strata = partial(_strata, by)
    train, validation, test = splits.train, splits.validation, splits.test
    if not len(test) and config.test:
        kept, apart = stratified_split(strata(train), config.test, config.split_seed)
        train, test = train[kept], train[apart]
    if config.train_images is not None:
        if config.train_images > len(train):
            raise ValueError(f"train_images is {config.train_images}, but there are only {len(train)} training images")
        train = train[np.sort(stratified_order(strata(train), seed)[: config.train_images])]
    if not len(validation) and config.validation:
        kept, apart = stratified_split(strata(train), config.validation, config.split_seed)
        train, validation = train[kept], train[apart]
    if not len(train):
        raise ValueError("no image is left to train on: lower data.test or data.validation")
    train, validation, test = _fitting([_hide(train, splits, config.hide, seed), validation, test], memory)
    return replace(splits, train=train, validation=validation, test=test)


def _fitting(parts: Sequence[Samples], memory: int) -> list[Samples]:
    """The parts, read from disk in this order as long as they fit: a subset may, though the whole data does not."""
    found = []
    for part in parts:
        if part.on_disk and part.nbytes <= memory:
            part = part.in_memory()
            memory -= part.nbytes
        found.append(part)
    return found


def _read(config: DataConfig, wanted: Mapping[str, ColumnRequest], memory: int) -> Splits:
    if config.synthetic is not None:
        return synthetic_rig(**vars(config.synthetic))
    if config.dataset is not None or config.root is None:
        if isinstance(config.root, tuple):
            raise ValueError(f"data.dataset {config.dataset} has one root, given {len(config.root)}")
        root = Path(config.root).expanduser() if config.root is not None else None
        return resized(NAMED[config.dataset or "digits"](root), config.image_size)
    roots = [Path(root).expanduser() for root in ((config.root,) if isinstance(config.root, str) else config.root)]
    if not roots:
        raise ValueError("data.root names no files")
    return read_roots(roots, wanted, config.image_size, config.skip_unreadable, memory)


def _with_columns(splits: Splits, wanted: Mapping[str, ColumnRequest]) -> Splits:
    """Only the columns that are wanted, checked.

    Raises:
        ValueError: a column is not there, or holds something else.
    """
    for name, request in wanted.items():
        if name not in splits.columns:
            raise ValueError(f"{splits.name} has no target column {name!r}; it has {', '.join(splits.columns)}")
        column = splits.columns[name]
        if column.kind != request.kind:
            raise ValueError(f"column {name!r} of {splits.name} holds {column.kind}, but {request.kind} is wanted")
        if request.names is not None and request.names != column.names:
            raise ValueError(f"column {name!r} of {splits.name} has {column.names}, but {request.names} is wanted")

    def only(part: Samples) -> Samples:
        return replace(part, targets={name: part.targets[name] for name in wanted})

    columns = {name: splits.columns[name] for name in wanted}
    return replace(
        splits,
        columns=columns,
        train=only(splits.train),
        validation=only(splits.validation),
        test=only(splits.test),
    )


def _strata(column: str | None, part: Samples) -> NDArray[np.int64]:
    """What splits and subsets are stratified by: a column of classes, if any, and the data set a sample is from."""
    labels: NDArray[np.int64] = part.targets[column] if column else np.zeros(len(part), np.int64)
    if part.source is None:
        return labels
    strata: NDArray[np.int64] = part.source * (labels.max(initial=0) + 2) + labels
    return strata


def _hide(part: Samples, splits: Splits, shares: Mapping[str, float], seed: int) -> Samples:
    """The samples with a share of the labels of some columns hidden; a larger share hides the same ones and more."""
    targets: dict[str, NDArray[Any]] = dict(part.targets)
    for name, share in shares.items():
        if name not in targets:
            raise ValueError(f"data.hide names {name!r}, which is no target of a task; those are {', '.join(targets)}")
        order = np.random.default_rng([seed, 3, zlib.crc32(name.encode())]).permutation(len(part))
        hidden = order[: round(share * len(part))]
        targets[name] = targets[name].copy()
        targets[name][hidden] = missing(splits.columns[name].kind)
    return replace(part, targets=targets)
