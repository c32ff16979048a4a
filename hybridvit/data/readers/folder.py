"""Image folders with a folder for each class."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from hybridvit.data.file_images import FileImages
from hybridvit.data.readers.image_io import common_size, in_threads, list_unreadable, read_header
from hybridvit.data.samples import ONE_VIEW, Column, Samples, Splits

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
FOLDERS = ("train", "val", "test")  # of the splits


def read_folder(
    root: Path, image_size: int | tuple[int, int] | None, skip_unreadable: bool, memory: int | None = None
) -> Splits:
    """Reads ROOT/CLASS/image, or ROOT/train/CLASS/image with optional val and test folders.

    Images are RGB unless all of them are grey, and turned as their EXIF orientation says.

    Args:
        root: the folder.
        image_size: size in pixels that images are cropped (centre) and resized to; None: all must be of one size.
        skip_unreadable: warn of files that cannot be read instead of refusing them.
        memory: bytes that the pixels may take; images that take more stay on disk, where only their headers are
            read; None: any number.

    Raises:
        ValueError: no class folders, a class without images, unreadable files, or differing sizes.
    """
    folders = [root / name for name in FOLDERS] if (root / "train").is_dir() else [root]
    class_names = _class_folders(folders[0])
    listed: list[list[tuple[Path, int]]] = []
    for folder in folders:
        if not folder.is_dir():
            listed.append([])
            continue
        if unknown := set(_class_folders(folder)) - set(class_names):
            raise ValueError(f"{folder} has classes that {folders[0]} lacks: {', '.join(sorted(unknown))}")
        listed.append(_list(folder, class_names, required=folder == folders[0]))

    paths = [path for split in listed for path, _ in split]
    headers, unreadable = in_threads(read_header, paths)
    size = common_size(headers, image_size)
    paths = [path for path in paths if path in headers]
    files = FileImages.of(paths, 1 if all(header.grey for header in headers.values()) else 3, size)
    images: Any = files
    if memory is None or files.nbytes <= memory:
        images, wrong = files.read_readable()
        unreadable |= wrong
    if unreadable and not skip_unreadable:
        raise ValueError(f"{list_unreadable(unreadable)} (skip them: --data.skip_unreadable)")
    if unreadable:
        warnings.warn(f"skipped unreadable files: {list_unreadable(unreadable)}", stacklevel=2)
    kept = {path: index for index, path in enumerate(paths) if path not in unreadable}
    if not kept:
        raise ValueError(f"{root}: not one image can be read")
    splits: list[Samples] = []
    for split in [*listed, [], []][:3]:
        rows = [kept[path] for path, _ in split if path in kept]
        labels = np.array([label for path, label in split if path in kept], dtype=np.int64)
        whole = slice(rows[0], rows[-1] + 1) if rows and rows[-1] - rows[0] + 1 == len(rows) else np.array(rows, int)
        splits.append(Samples({ONE_VIEW: images[whole]}, {"label": labels}))
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


def _list(folder: Path, class_names: list[str], required: bool) -> list[tuple[Path, int]]:
    files = []
    for label, name in enumerate(class_names):
        paths = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES)
        if required and not paths:
            raise ValueError(f"{folder / name}: class {name!r} has no images (looked for {' '.join(SUFFIXES)})")
        files += [(path, label) for path in paths]
    return files
