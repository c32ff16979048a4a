"""Where the files of a published data set are looked for, and downloaded to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hybridvit.data.sets.download import download

VARIABLE = "HYBRIDVIT_DATA"
CACHE = "~/.cache/hybridvit"  # where downloads go if nobody says


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
        failed = download(torchvision, folder, files[-1])
        if failed is None:
            return folder, files[-1]
        missing = f", and torchvision cannot download it ({failed})"
    raise ValueError(f"{name}: no {' or '.join(files)} in {folder} ({origin}){missing}; put there {how}")
