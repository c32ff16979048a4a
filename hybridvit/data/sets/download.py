"""Downloads through torchvision, which checks the files; a data set appears whole or not at all."""

from __future__ import annotations

import http.client
import pickle
import socket
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 30.0  # seconds without an answer
FAILURES = (OSError, RuntimeError, EOFError, tarfile.TarError, http.client.HTTPException)


def download(kind: str, folder: Path, file: str) -> str | None:
    """Downloads one of torchvision's data sets into a folder, saying so in one line.

    The files are written beside their place and moved there when they are complete; several processes take turns.

    Args:
        kind: torchvision's class.
        folder: where to put it.
        file: what then exists.

    Returns:
        Why that failed; None: it did not.
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


def read_downloaded(kind: str, folder: Path, path: Path) -> tuple[Any, Any]:
    """Training and test images of one of torchvision's data sets, as it has stored them.

    Args:
        kind: torchvision's class.
        folder: what :func:`download` was given.
        path: the folder in it that holds the files.

    Raises:
        ValueError: the files are damaged or incomplete.
    """
    from torchvision import datasets

    try:
        train, test = (getattr(datasets, kind)(folder, train=train, download=False) for train in (True, False))
    except (RuntimeError, pickle.UnpicklingError, OSError) as error:
        reason = str(error).splitlines()[0].partition(". You can use")[0]
        raise ValueError(f"{path} cannot be read: {reason}; without that folder it is downloaded anew") from error
    return train, test


@contextmanager
def _patience() -> Iterator[None]:
    """Connections of this process give up where nobody answers."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
