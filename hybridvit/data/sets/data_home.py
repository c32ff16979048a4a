"""Where the files of a published data set are looked for, downloaded to, and how torchvision's are read."""

from __future__ import annotations

import http.client
import os
import pickle
import socket
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.readers.npz import read_arrays

VARIABLE = "HYBRIDVIT_DATA"
CACHE = "~/.cache/hybridvit"  # where downloads go if nobody says
PATIENCE = 30.0  # seconds without an answer
FAILURES = (OSError, RuntimeError, EOFError, tarfile.TarError, http.client.HTTPException)


def find(
    root: Path | None, name: str, files: Sequence[str], how: str, torchvision: str | None = None
) -> tuple[Path, str]:
    """The folder that holds the data, and the first of ``files`` that is in it.

    Args:
        root: the folder; None: the one that the variable HYBRIDVIT_DATA names, and ~/.cache/hybridvit for what can be
            downloaded if there is no such variable.
        name: of the data set.
        files: files or folders in that folder, any of which will do.
        how: how to get them, for the message.
        torchvision: class of torchvision's data sets that downloads the last of ``files`` if none exists; it does
            so only into a folder that exists, for a mistyped one is no place for it. None: there is none.

    Raises:
        ValueError: none of them exists, or the download failed.
    """
    named = os.environ.get(VARIABLE)
    if root is None and not named and torchvision is None:
        raise ValueError(f"{name}: no folder is given, so set data.root or the variable {VARIABLE} to where {how}")
    folder = root if root is not None else Path(named or CACHE).expanduser()
    for file in files:
        if (folder / file).exists():
            return folder, file
    origin = "data.root" if root is not None else f"the variable {VARIABLE}"
    if root is None and not named:
        origin = f"neither data.root nor the variable {VARIABLE} names another"
        folder.mkdir(parents=True, exist_ok=True)
    missing = "" if folder.is_dir() else ", which does not exist"
    if torchvision is not None and folder.is_dir():
        failed = _download(torchvision, folder, files[-1])
        if failed is None:
            return folder, files[-1]
        missing = f", and torchvision cannot download it ({failed})"
    raise ValueError(f"{name}: no {' or '.join(files)} in {folder} ({origin}){missing}; put there {how}")


def read_train_and_test(
    root: Path | None, name: str, torchvision: str, stored: str
) -> tuple[Path, list[tuple[NDArray[Any], NDArray[np.int64]]]]:
    """Training and test images, each with their labels ``[n]``; before them, the file or folder that holds them.

    Read from ``NAME.npz`` in the MedMNIST layout, or as torchvision stores them; downloaded where neither exists.

    Args:
        root: as for :func:`find`.
        name: of the data set.
        torchvision: torchvision's class of it.
        stored: what that writes.

    Raises:
        ValueError: the files are missing and cannot be downloaded, or they are damaged.
    """
    how = f"{name}.npz, or what torchvision.datasets.{torchvision}(folder, download=True) writes"
    folder, file = find(root, name, (f"{name}.npz", stored), how, torchvision)
    path = folder / Path(file).parts[0]
    if file == stored:
        splits = _read_downloaded(torchvision, folder, path)
        return path, [(np.asarray(split.data), np.asarray(split.targets, np.int64)) for split in splits]
    arrays = read_arrays(path, ("train_images", "train_labels", "test_images", "test_labels"))
    return path, [
        (arrays[f"{split}_images"], arrays[f"{split}_labels"].astype(np.int64).reshape(-1))
        for split in ("train", "test")
    ]


def _read_downloaded(kind: str, folder: Path, path: Path) -> list[Any]:
    """One of torchvision's data sets for training and for testing, as it has stored them in ``path``."""
    from torchvision import datasets

    try:
        return [getattr(datasets, kind)(folder, train=train, download=False) for train in (True, False)]
    except (RuntimeError, pickle.UnpicklingError, OSError) as error:
        reason = str(error).splitlines()[0].partition(". You can use")[0]
        raise ValueError(f"{path} cannot be read: {reason}; without that folder it is downloaded anew") from error


def _download(kind: str, folder: Path, file: str) -> str | None:
    """Downloads one of torchvision's data sets into a folder, saying so in one line; why that failed, else None.

    ``file`` is what then exists. The files are written beside their place and moved there when they are complete, so
    that a data set appears whole or not at all; several processes take turns.
    """
    from filelock import FileLock
    from torchvision import datasets

    made = Path(file).parts[0]
    try:
        with FileLock(folder / f".{kind}.lock"):
            if (folder / file).exists():  # another process was first
                return None
            print(f"downloading {kind} with torchvision to {folder}", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix=f".{kind}-", dir=folder) as temporary, _patience():
                getattr(datasets, kind)(temporary, train=True, download=True)
                (Path(temporary) / made).rename(folder / made)
    except FAILURES as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        reason = getattr(reason, "strerror", None) or reason
        return " ".join(str(reason).split()) or type(error).__name__
    return None


@contextmanager
def _patience() -> Iterator[None]:
    """Connections of this process give up where nobody answers."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
