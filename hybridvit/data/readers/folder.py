"""Image folders with a folder for each class."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from hybridvit.data.file_images import FileImages
from hybridvit.data.readers.image_io import common_size, in_threads, list_unreadable, read_header
from hybridvit.data.samples import ONE_VIEW, Column, Samples, Splits, read_all

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
FOLDERS = ("train", "val", "test")  # of the splits


def read_folder(
    root: Path,
    image_size: int | tuple[int, int] | None,
    skip_unreadable: bool,
    memory: int | None = None,
    read_test: bool = True,
) -> Splits:
    """Reads ROOT/CLASS/image, or ROOT/train/CLASS/image with optional val and test folders.

    Images are RGB unless all training and validation images are grey, and turned as their EXIF orientation says.

    Args:
        root: the folder.
        image_size: size in pixels that images are cropped (centre) and resized to; None: all must be of one size.
        skip_unreadable: warn of files that cannot be read instead of refusing them.
        memory: bytes that the pixels may take; images that take more stay on disk, where only their headers are
            read; None: any number.
        read_test: False: no file of the test folder is opened, and its images stay on disk, as all others do.

    Raises:
        ValueError: no class folders, a class without images, unreadable files, or differing sizes.
    """
    folders = [root / name for name in FOLDERS] if (root / "train").is_dir() else [root]
    class_names = _class_folders(folders[0])
    listed: list[tuple[Path, int, int]] = []  # file, class and split
    for index, folder in enumerate(folders):
        if folder.is_dir():
            listed += [(path, label, index) for path, label in _list(folder, class_names, folders[0])]
    unopened = () if read_test else (FOLDERS.index("test"),)
    headers, unreadable = in_threads(read_header, [path for path, _, index in listed if index not in unopened])
    listed = [entry for entry in listed if entry[0] in headers or entry[2] in unopened]
    paths = [path for path, _, _ in listed]
    labels, split = (np.array([entry[place] for entry in listed], np.int64) for place in (1, 2))
    grey = all(headers[path].grey for path, _, index in listed if FOLDERS[index] != "test")
    files = FileImages.of(paths, 1 if grey else 3, common_size(headers, image_size))
    everything = Samples({ONE_VIEW: files}, {"label": labels})
    splits = [everything[split == index] for index in range(len(FOLDERS))]
    if read_test and (memory is None or files.nbytes <= memory):
        splits, wrong = read_all(splits)
        unreadable |= wrong
    if unreadable and not skip_unreadable:
        raise ValueError(f"{list_unreadable(unreadable)} (skip them: --data.skip_unreadable)")
    if unreadable:
        warnings.warn(f"skipped unreadable files: {list_unreadable(unreadable)}", stacklevel=2)
    kept = np.array([path not in unreadable for path in paths], bool)
    if not kept.any():
        raise ValueError(f"{root}: not one image can be read")
    if not kept.all():
        splits = [samples[kept[split == index]] for index, samples in enumerate(splits)]
    for missing in np.flatnonzero(np.bincount(splits[0].targets["label"], minlength=len(class_names)) == 0):
        name = class_names[missing]
        raise ValueError(f"{folders[0] / name}: class {name!r} has no image that can be read")
    train, validation, test = splits
    return Splits(root.resolve().name, {"label": Column("class", tuple(class_names))}, train, validation, test)


def _class_folders(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise ValueError(f"{folder} holds no class folders: expected {folder}/CLASS/image.png")
    return names


def _list(folder: Path, class_names: list[str], train: Path) -> list[tuple[Path, int]]:
    if unknown := set(_class_folders(folder)) - set(class_names):
        raise ValueError(f"{folder} has classes that {train} lacks: {', '.join(sorted(unknown))}")
    files = []
    for label, name in enumerate(class_names):
        paths = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES)
        if folder == train and not paths:
            raise ValueError(f"{folder / name}: class {name!r} has no images (looked for {' '.join(SUFFIXES)})")
        files += [(path, label) for path in paths]
    return files
