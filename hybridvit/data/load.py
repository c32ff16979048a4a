"""Samples from a named data set, a manifest, a folder per class, an .npz file or a synthetic rig, split for a run."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hybridvit.config import Config, Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt, Probability
from hybridvit.data.loaders.memory import allowed_bytes
from hybridvit.data.merge import merge
from hybridvit.data.readers.folder import read_folder
from hybridvit.data.readers.manifest import ColumnRequest, read_manifest, target_names
from hybridvit.data.readers.npz import read_npz
from hybridvit.data.resize import resized
from hybridvit.data.rig import Rig
from hybridvit.data.samples import Samples, Splits, missing
from hybridvit.data.sets.named import NAMED, DatasetName
from hybridvit.data.subset import set_apart, strata, stratified_order
from hybridvit.data.synthetic.dataset import SyntheticConfig


class DataConfig(Config):
    """Which images to learn from, and how they are split.

    Attributes:
        dataset: a named data set, looked for in root, in the folder that the variable HYBRIDVIT_DATA names, or in
            ~/.cache/hybridvit; its reader in ``data/sets`` says which files it needs and whether it downloads them.
            None: what root holds, or digits without a root.
        root: a manifest (.csv, .parquet), with the geometry of its cameras in a rig.json beside it, if any; a folder
            with one folder of images for each class, or the same under train/, val/ and test/; or an .npz file in
            the MedMNIST layout. Several: their samples together, each with the labels that it has.
        image_size: height and width in pixels that images are cropped and resized to; None: as they are.
        train_images: number of labelled images to use, a nested stratified subset; None: all.
        validation: share of those set apart for selection, where the data has no validation split.
        validation_from: what that is a share of: the images of train_images ("subset"), or all training images ("all"),
            of which train_images are drawn afterwards, or as many as are left.
        test: share of all images set apart for the test, where the data has no test split.
        read_test: False: the test split is set apart, but neither read nor scored, as while a recipe is developed.
        stratify: column of classes that splits and subsets are stratified by; None: the first that a task reads.
        split_seed: seed of the splits; the run's own seed draws the subset.
        skip_unreadable: leave out image files that cannot be read, naming them.
        hide: target column -> share of its training labels that are hidden, to see what missing labels cost.
        names: target column -> its classes, components or points in order; a column that is not named here has
            those that its training labels have.
        memory: GiB that the decoded images of folders and manifests may take; those that take more stay on disk, and
            worker processes read them as they are needed. None: a third of the memory that is free on this host and,
            where there is a CUDA device, of what is free there, whichever is less.
        synthetic: instead of files, made-up scenes seen by the cameras of a vehicle; None: files.
    """

    dataset: DatasetName | None = None
    root: str | tuple[str, ...] | None = None
    image_size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    train_images: PositiveInt | None = None
    validation: Fraction = 0.2
    validation_from: Literal["subset", "all"] = "subset"
    test: Fraction = 0.2
    read_test: bool = True
    stratify: str | None = None
    split_seed: NonNegativeInt = 0
    skip_unreadable: bool = False
    hide: dict[str, Probability] = field(default_factory=dict)
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    memory: NonNegativeFloat | None = None
    synthetic: SyntheticConfig | None = None

    def __post_init__(self) -> None:
        if self.memory is not None and not _files(self.root, self.dataset):
            raise ValueError("memory has no effect: only images of folders and manifests may stay on disk")
        if self.validation_from == "all" and not (self.validation and self.train_images):
            raise ValueError("validation_from 'all' has no effect without validation and train_images")
        if self.synthetic is not None and (self.root, self.dataset, self.image_size) != (None, None, None):
            raise ValueError("synthetic scenes make their own images, so dataset, root and image_size have no effect")


def _files(root: str | tuple[str, ...] | None, dataset: str | None) -> bool:
    """Whether any root holds images as files of their own."""
    roots = (root,) if isinstance(root, str) else root or ()
    return dataset is None and any(not path.endswith(".npz") for path in roots)


def load(
    config: DataConfig,
    seed: int,
    requests: Mapping[str, ColumnRequest],
    further: Mapping[str, ColumnRequest] | None = None,
) -> Splits:
    """Reads the images and splits them: :func:`read`, then :func:`split`."""
    return split(read(config, requests, further), config, seed, requests)


def read(
    config: DataConfig, requests: Mapping[str, ColumnRequest], further: Mapping[str, ColumnRequest] | None = None
) -> Splits:
    """The images and their targets in the data's own splits, with a test split set apart where it has none.

    Args:
        config: which images.
        requests: target columns, and what they should hold.
        further: more of them, which do not change how the data is split.

    Raises:
        ValueError: root holds no data, a column is missing or of another kind, or a file cannot be read.
    """
    by = _stratified_by(config, requests)
    both = {**({by: ColumnRequest("class", config.names.get(by))} if by else {}), **(further or {}), **requests}
    for name, request in (further or {}).items():
        if name in requests and requests[name].kind != request.kind:
            raise ValueError(f"column {name!r} holds {requests[name].kind} for one task, {request.kind} for another")
    memory = allowed_bytes(config.memory) if config.read_test and _files(config.root, config.dataset) else 0
    splits = _with_columns(_read(config, both, memory), both)
    train, test = splits.train, splits.test
    if not len(test) and config.test:
        train, test = set_apart(train, by, config.test, config.split_seed)
    return replace(splits, train=train, test=test if config.read_test else test[:0])


def split(splits: Splits, config: DataConfig, seed: int, requests: Mapping[str, ColumnRequest]) -> Splits:
    """What :func:`read` gave, with the subset and the validation split of a run.

    Args:
        splits: the whole data.
        config: how it is split.
        seed: of the run; draws the subset when fewer images are asked for.
        requests: target columns; the first column of classes stratifies the splits, if ``stratify`` does not name
            another.

    Raises:
        ValueError: more training images are asked for than there are, or none is left.
    """
    by = _stratified_by(config, requests)
    train, validation = splits.train, splits.validation
    from_all = config.validation_from == "all"
    if from_all and not len(validation):
        train, validation = set_apart(train, by, config.validation, config.split_seed)
    if config.train_images is not None:
        if config.train_images > len(train) and not from_all:
            raise ValueError(f"train_images is {config.train_images}, but there are only {len(train)} training images")
        train = train[np.sort(stratified_order(strata(train, by), seed)[: config.train_images])]
    if not len(validation) and config.validation:
        train, validation = set_apart(train, by, config.validation, config.split_seed)
    if not len(train):
        raise ValueError("no image is left to train on: lower data.test or data.validation")
    memory = allowed_bytes(config.memory) if _files(config.root, config.dataset) else 0
    train, validation, test = _fitting([_hide(train, splits, config.hide, seed), validation, splits.test], memory)
    return replace(splits, train=train, validation=validation, test=test)


def _stratified_by(config: DataConfig, requests: Mapping[str, ColumnRequest]) -> str | None:
    """The column of classes that splits are stratified by, if there is one."""
    return config.stratify or next((name for name, request in requests.items() if request.kind == "class"), None)


def _fitting(splits: Sequence[Samples], memory: int) -> list[Samples]:
    """The splits, read from disk in this order as long as they fit: a subset may, though the whole data does not."""
    fitted = []
    for samples in splits:
        if samples.on_disk and samples.nbytes <= memory:
            samples = samples.in_memory()
            memory -= samples.nbytes
        fitted.append(samples)
    return fitted


def _read(config: DataConfig, requests: Mapping[str, ColumnRequest], memory: int) -> Splits:
    if config.synthetic is not None:
        return config.synthetic.build()
    if config.dataset is not None or config.root is None:
        if isinstance(config.root, tuple):
            raise ValueError(f"data.dataset {config.dataset} has one root, given {len(config.root)}")
        root = Path(config.root).expanduser() if config.root is not None else None
        return resized(NAMED[config.dataset or "digits"](root), config.image_size)
    roots = [Path(root).expanduser() for root in ((config.root,) if isinstance(config.root, str) else config.root)]
    if not roots:
        raise ValueError("data.root names no files")
    datasets: list[Splits] = []
    left = memory
    for root in roots:
        dataset = _read_root(root, config, requests, left)
        if dataset.train.on_disk and len(roots) > 1:  # either all are in memory or none is
            return merge([_read_root(each, config, requests, 0) for each in roots])
        datasets.append(dataset)
        left -= dataset.train.nbytes + dataset.validation.nbytes + dataset.test.nbytes
    return merge(datasets)


def _read_root(root: Path, config: DataConfig, requests: Mapping[str, ColumnRequest], memory: int) -> Splits:
    """The samples of one root; where their images take more than ``memory`` bytes, they stay on disk."""
    if not root.exists():
        raise ValueError(f"data.root {str(root)!r} is not there")
    if root.is_dir():
        return read_folder(root, config.image_size, config.skip_unreadable, memory, config.read_test)
    if root.suffix == ".npz":
        return resized(read_npz(root), config.image_size)
    if root.suffix not in (".csv", ".parquet"):
        raise ValueError(f"data.root {str(root)!r} is neither a folder nor a .csv, .parquet or .npz file")
    if isinstance(config.root, tuple) and len(config.root) > 1:  # one of them has what another one lacks
        available = target_names(root)
        requests = {name: request for name, request in requests.items() if name in available}
    splits = read_manifest(root, requests, config.image_size, config.skip_unreadable, memory)
    rig = root.with_name("rig.json")
    return replace(splits, rig=Rig.read(rig, splits.shapes)) if rig.is_file() else splits


def _with_columns(splits: Splits, requests: Mapping[str, ColumnRequest]) -> Splits:
    """Only the requested columns, checked.

    Raises:
        ValueError: a column is missing, or holds something else.
    """
    for name, request in requests.items():
        if name not in splits.columns:
            raise ValueError(f"{splits.name} has no target column {name!r}; it has {', '.join(splits.columns)}")
        column = splits.columns[name]
        if column.kind != request.kind:
            raise ValueError(f"column {name!r} of {splits.name} holds {column.kind}, but {request.kind} is expected")
        if request.names is not None and request.names != column.names:
            raise ValueError(f"column {name!r} of {splits.name} has {column.names}, but {request.names} is expected")

    def only(samples: Samples) -> Samples:
        return replace(samples, targets={name: samples.targets[name] for name in requests})

    return replace(splits, columns={name: splits.columns[name] for name in requests}).map(only)


def _hide(samples: Samples, splits: Splits, shares: Mapping[str, float], seed: int) -> Samples:
    """The samples with a share of the labels of some columns hidden; a larger share hides the same ones and more."""
    targets: dict[str, NDArray[Any]] = dict(samples.targets)
    for name, share in shares.items():
        if name not in targets:
            raise ValueError(f"data.hide names {name!r}, which is no target of a task; those are {', '.join(targets)}")
        order = np.random.default_rng([seed, 3, zlib.crc32(name.encode())]).permutation(len(samples))
        hidden = order[: round(share * len(samples))]
        targets[name] = targets[name].copy()
        targets[name][hidden] = missing(splits.columns[name].kind)
    return replace(samples, targets=targets)
