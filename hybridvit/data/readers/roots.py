"""Folders, manifests and .npz files, one or several together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hybridvit.data.merge import merge
from hybridvit.data.readers.folder import read_folder
from hybridvit.data.readers.manifest import ColumnRequest, read_manifest, target_names
from hybridvit.data.readers.npz import read_npz
from hybridvit.data.resize import resized
from hybridvit.data.rig import Rig
from hybridvit.data.samples import Splits

MANIFESTS = (".csv", ".parquet")


def read_roots(
    roots: Sequence[Path],
    requests: Mapping[str, ColumnRequest],
    image_size: int | tuple[int, int] | None,
    skip_unreadable: bool,
    memory: int,
) -> Splits:
    """The samples of all roots together; where their images take more than ``memory`` bytes, all stay on disk.

    Args:
        roots: manifests, folders or .npz files.
        requests: target columns, and what they should hold.
        image_size: height and width in pixels that images are cropped and resized to; None: as they are.
        skip_unreadable: go on without files that cannot be read, naming them.
        memory: bytes.

    Raises:
        ValueError: a root does not exist, is of another kind or cannot be read; or two roots do not fit together.
    """

    def read(root: Path, allowed: int) -> Splits:
        if not root.exists():
            raise ValueError(f"data.root {str(root)!r} is not there")
        if root.is_dir():
            return read_folder(root, image_size, skip_unreadable, allowed)
        if root.suffix in MANIFESTS:
            available = target_names(root) if len(roots) > 1 else requests  # one of them has what another one lacks
            own = {name: request for name, request in requests.items() if name in available}
            splits = read_manifest(root, own, image_size, skip_unreadable, allowed)
            rig = root.with_name("rig.json")
            return replace(splits, rig=Rig.read(rig, splits.shapes)) if rig.is_file() else splits
        if root.suffix == ".npz":
            return resized(read_npz(root), image_size)
        raise ValueError(f"data.root {str(root)!r} is neither a folder nor a .csv, .parquet or .npz file")

    datasets: list[Splits] = []
    left = memory
    for root in roots:
        dataset = read(root, left)
        if dataset.train.on_disk and len(roots) > 1:
            return merge([read(each, 0) for each in roots])
        datasets.append(dataset)
        left -= dataset.train.nbytes + dataset.validation.nbytes + dataset.test.nbytes
    return merge(datasets)
