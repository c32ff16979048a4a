"""ciFAIR: CIFAR whose test images that also are training images were replaced (Barz and Denzler, arXiv 1902.00423)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hybridvit.data.samples import Samples, Splits
from hybridvit.data.sets.cifar import COLUMNS, cifar_samples
from hybridvit.data.sets.data_home import find

PAGE = "cvjena.github.io/cifair"
FILES = {
    "cifair10": ("ciFAIR-10", tuple(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "labels"),
    "cifair100": ("ciFAIR-100", ("train",), "test", "fine_labels"),
}
# all that a pickled array consists of, by the names of numpy 1 and 2
ARRAY_PARTS = {
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


def read_cifair(root: Path | None, name: Literal["cifair10", "cifair100"]) -> Splits:
    """50,000 training images, CIFAR's own, and 10,000 test images of 32x32 pixels.

    Columns are those of CIFAR. Read from the folders ciFAIR-10 and ciFAIR-100 as the authors publish them; ``root`` is
    the folder that holds them, as for :func:`find`.

    Raises:
        ValueError: the files are missing or damaged.
    """
    folder, train, test, label = FILES[name]
    place, _ = find(root, name, (folder,), f"the folder {folder} from its authors' page {PAGE}")
    columns = COLUMNS[name.replace("cifair", "cifar")]

    def samples(files: tuple[str, ...]) -> Samples:
        images, labels = zip(*(_read(place / folder / file, label) for file in files), strict=True)
        return cifar_samples(place / folder, columns, np.concatenate(images), np.concatenate(labels))

    training = samples(train)
    return Splits(name, columns, training, training[:0], samples((test,)))


def _read(path: Path, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Images ``[n, h, w, c]`` and labels ``[n]`` of one file."""
    try:
        with path.open("rb") as file:
            loaded = _Arrays(file, encoding="latin1").load()
            entry = {key.decode() if isinstance(key, bytes) else key: value for key, value in loaded.items()}
    except Exception as error:  # a damaged pickle raises nearly anything
        raise ValueError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    for key in ("data", label):
        if key not in entry:
            raise ValueError(f"{path} has no {key!r}; it has {', '.join(map(str, entry)) or 'nothing'}")
    images, labels = np.asarray(entry["data"]), np.asarray(entry[label])
    if (
        images.dtype != np.uint8
        or images.size != labels.size * 3072
        or labels.ndim != 1
        or labels.dtype.kind not in "iu"
    ):
        raise ValueError(f"{path}: expected uint8 data [n, 3072] with a whole number each in {label!r}")
    return images.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels.astype(np.int64)


class _Arrays(pickle.Unpickler):
    """Reads dictionaries, lists, numbers, text and arrays; whatever else a pickle asks for is not run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ARRAY_PARTS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return super().find_class(module, name)
