"""Where the files of a published data set are looked for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VARIABLE = "HYBRIDVIT_DATA"


def find(root: Path | None, name: str, files: Sequence[str], how: str) -> tuple[Path, str]:
    """The folder that holds the data, and the first of ``files`` that is in it.

    Args:
        root: the folder; None: the one that the variable HYBRIDVIT_DATA names.
        name: of the data set.
        files: files or folders in that folder, any of which will do.
        how: how to get them, for the message.

    Raises:
        ValueError: none of them is there.
    """
    known = os.environ.get(VARIABLE)
    folder = root if root is not None else Path(known).expanduser() if known else None
    if folder is None:
        raise ValueError(f"{name}: no folder is given, so set data.root or the variable {VARIABLE} to where {how}")
    for file in files:
        if (folder / file).exists():
            return folder, file
    origin = "data.root" if root is not None else f"the variable {VARIABLE}"
    missing = "" if folder.is_dir() else ", which is not there"
    raise ValueError(f"{name}: no {' or '.join(files)} in {folder} ({origin}){missing}; put there {how}")


def read_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """Arrays of an .npz file, those of ``names`` at least, without unpickling anything.

    Raises:
        ValueError: the file cannot be read, or lacks one.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # also TypeError (one .npy array), zlib.error, NotImplementedError (other zip kinds)
        raise ValueError(f"{path} cannot be read as .npz: {error}") from error
    for name in names:
        if name not in arrays:
            raise ValueError(f"{path} has no array {name}; it has {', '.join(sorted(arrays)) or 'none'}")
    return arrays
