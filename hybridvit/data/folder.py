"""Pictures as people have them: a folder for each class."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from hybridvit.data.splits import ONE_VIEW, Column, Samples, Splits

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
PARTS = ("train", "val", "test")
DEEP_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
GREY_MODES = ("1", "L", "LA", "F", *DEEP_MODES)


def read_folder(root: Path, image_size: int | tuple[int, int] | None, skip_unreadable: bool) -> Splits:
    """Reads ROOT/CLASS/image, or ROOT/train/CLASS/image with optional val and test folders.

    Pictures are RGB unless all of them are grey, and turned as their EXIF orientation says.

    Args:
        root: the folder.
        image_size: size in pixels that pictures are cropped (centre) and resized to; None: all must be of one size.
        skip_unreadable: warn of files that cannot be read instead of refusing them.

    Raises:
        ValueError: no class folders, a class without images, unreadable files, or differing sizes.
    """
    has_parts = (root / "train").is_dir()
    folders = [root / part if has_parts else root for part in (PARTS if has_parts else PARTS[:1])]
    class_names = _class_folders(folders[0])
    listed: list[list[tuple[Path, int]]] = []
    for folder in folders:
        if not folder.is_dir():
            listed.append([])
            continue
        if strange := set(_class_folders(folder)) - set(class_names):
            raise ValueError(f"{folder} has classes that {folders[0]} has not: {', '.join(sorted(strange))}")
        listed.append(_list(folder, class_names, required=folder == folders[0]))

    paths = [path for part in listed for path, _ in part]
    decoded = _decode_all(paths, image_size, skip_unreadable)
    if not decoded:
        raise ValueError(f"{root}: not one image can be read")
    _check_one_size(decoded)
    channels = 3 if any(array.ndim == 3 for array in decoded.values()) else 1
    height, width = next(iter(decoded.values())).shape[:2]
    parts: list[Samples] = []
    for part in [*listed, [], []][:3]:
        kept = [(path, label) for path, label in part if path in decoded]
        images = np.empty((len(kept), channels, height, width), np.uint8)
        for index, (path, _) in enumerate(kept):
            images[index] = _channels_first(decoded[path], channels)
        labels = np.array([label for _, label in kept], dtype=np.int64)
        parts.append(Samples({ONE_VIEW: images}, {"label": labels}))
    for missing in np.flatnonzero(np.bincount(parts[0].targets["label"], minlength=len(class_names)) == 0):
        name = class_names[missing]
        raise ValueError(f"{folders[0] / name}: class {name!r} has no image that can be read")
    train, validation, test = parts
    return Splits(root.resolve().name, {"label": Column("class", tuple(class_names))}, train, validation, test)


def read_image(path: Path, channels: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One picture as ``[c, h, w]`` uint8, cropped (centre) and resized to ``size`` in pixels.

    Raises:
        ValueError: the file is not there or no image.
    """
    try:
        array = _decode(path, size, grey=channels == 1)
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an image: {_reason(error)}") from error
    return _channels_first(array, channels)


def _class_folders(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise ValueError(f"{folder} holds no class folders: expected {folder}/CLASS/image.png")
    return names


def _list(folder: Path, class_names: list[str], required: bool) -> list[tuple[Path, int]]:
    found = []
    for label, name in enumerate(class_names):
        files = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES)
        if required and not files:
            raise ValueError(f"{folder / name}: class {name!r} has no images (looked for {' '.join(SUFFIXES)})")
        found += [(path, label) for path in files]
    return found


def _decode_all(
    paths: list[Path], image_size: int | tuple[int, int] | None, skip_unreadable: bool
) -> dict[Path, NDArray[np.uint8]]:
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    unreadable: list[str] = []

    def decode(path: Path) -> NDArray[np.uint8] | None:
        try:
            return _decode(path, size, grey=None)
        except Exception as error:  # PIL's decoders also raise SyntaxError, ValueError, struct.error ...
            unreadable.append(f"{path} ({_reason(error)})")
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        arrays = list(pool.map(decode, paths))
    if unreadable:
        unreadable.sort()
        named = "; ".join(unreadable[:5]) + (f"; and {len(unreadable) - 5} more" if len(unreadable) > 5 else "")
        if not skip_unreadable:
            raise ValueError(f"{len(unreadable)} files cannot be read: {named} (skip them: --data.skip_unreadable)")
        warnings.warn(f"skipped {len(unreadable)} unreadable files: {named}", stacklevel=2)
    return {path: array for path, array in zip(paths, arrays, strict=True) if array is not None}


def _decode(path: Path, size: tuple[int, int] | None, grey: bool | None) -> NDArray[np.uint8]:
    """``[h, w]`` for a grey picture, else ``[h, w, 3]``; ``grey`` None: as the file is."""
    with Image.open(path) as file:
        is_grey = file.mode in GREY_MODES if grey is None else grey
        picture: Image.Image = file
        if file.mode in (*DEEP_MODES, "F"):  # more than 8 bits: scale to 8 instead of clipping
            values = np.asarray(file, dtype=np.float64)
            depth = 65535.0 if file.mode in DEEP_MODES or values.max() > 255 else 255.0
            picture = Image.fromarray((values.clip(0, depth) * (255 / depth)).round().astype(np.uint8))
        picture = ImageOps.exif_transpose(picture).convert("L" if is_grey else "RGB")
    if size is not None and picture.size != (size[1], size[0]):
        picture = ImageOps.fit(picture, (size[1], size[0]), Image.Resampling.BICUBIC)
    return np.asarray(picture)


def _channels_first(array: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    if array.ndim == 2:
        return np.broadcast_to(array, (channels, *array.shape))
    return array.transpose(2, 0, 1)


def _check_one_size(decoded: dict[Path, NDArray[np.uint8]]) -> None:
    sizes: dict[tuple[int, ...], Path] = {}
    for path, array in decoded.items():
        sizes.setdefault(array.shape[:2], path)
    if len(sizes) > 1:
        (first, one), (second, other) = list(sizes.items())[:2]
        raise ValueError(
            f"images differ in size ({one} is {first[0]}x{first[1]}, {other} is {second[0]}x{second[1]} pixels): "
            "say which size to use, as in --data.image_size 64"
        )


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "no known image format"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
