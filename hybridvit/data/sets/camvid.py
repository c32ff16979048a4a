"""CamVid: street scenes with a label map, in the layout of the SegNet tutorial."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.file_images import FileImages
from hybridvit.data.readers.image_io import fit_mask, in_threads, read_header, read_mask
from hybridvit.data.samples import ONE_VIEW, VOID, Column, Samples, Splits
from hybridvit.data.sets.data_home import find

CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "cyclist")
UNLABELLED = len(CLASSES)  # in the files
FEW = 16  # pixels; a class that has fewer does not count as present
HOW = "the folder camvid of the SegNet tutorial, with train, trainannot, val, valannot, test and testannot"


def read_camvid(root: Path | None) -> Splits:
    """367 training, 101 validation and 233 test frames of 10 minutes of driving (Brostow et al. 2009).

    Frames are as large as the files. The columns are "mask", one of 11 classes for each pixel (Badrinarayanan et al.
    2017, SegNet); "present", which classes have at least 16 pixels; and "road_share", the share of labelled pixels
    that are road.

    Args:
        root: the folder that holds camvid, or camvid itself; None: the one that the variable HYBRIDVIT_DATA names.

    Raises:
        ValueError: the folders are missing, a frame has no label map, or a file cannot be read.
    """
    if root is not None and (root / "trainannot").is_dir():
        folder = root
    else:
        home, _ = find(root, "camvid", ("camvid/trainannot",), HOW)
        folder = home / "camvid"
    columns = {
        "mask": Column("mask", CLASSES),
        "present": Column("multilabel", CLASSES),
        "road_share": Column("numbers", ("road_share",)),
    }
    train, validation, test = (_split(folder, name) for name in ("train", "val", "test"))
    return Splits("camvid", columns, train, validation, test)


def _split(folder: Path, name: str) -> Samples:
    frames = sorted(path for path in (folder / name).glob("*") if path.suffix in (".png", ".jpg"))
    if not frames:
        raise ValueError(f"camvid: {folder / name} has no frames; expected {HOW}")
    maps = [folder / f"{name}annot" / f"{path.stem}.png" for path in frames]
    size = read_header(frames[0]).size
    images, unreadable = FileImages.of(frames, 3, size).read_readable()
    masks, unreadable_maps = in_threads(lambda path: fit_mask(read_mask(path), size), maps)
    unreadable |= unreadable_maps
    for path, why in unreadable.items():
        raise ValueError(f"camvid: {path} cannot be read: {why} ({len(unreadable)} such files in {name})")
    mask = np.stack([masks[path] for path in maps])
    return Samples({ONE_VIEW: images}, _targets(mask, folder / f"{name}annot"))


def _targets(mask: NDArray[np.uint8], folder: Path) -> dict[str, NDArray[Any]]:
    pixels = np.stack([np.bincount(one.ravel(), minlength=256) for one in mask])
    if pixels[:, UNLABELLED + 1 : VOID].any():
        raise ValueError(f"camvid: label maps in {folder} go up to {mask.max()}, expected 0 to {UNLABELLED}")
    labelled = pixels[:, :UNLABELLED]
    with np.errstate(invalid="ignore"):
        road = labelled[:, CLASSES.index("road")] / labelled.sum(axis=1)
    return {
        "mask": np.where(mask == UNLABELLED, np.uint8(VOID), mask),
        "present": (labelled >= FEW).astype(np.int64),
        "road_share": road[:, None].astype(np.float32),
    }
