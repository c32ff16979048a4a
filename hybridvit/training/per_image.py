"""Which images of a split are classified right, as text that fits into a result file."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray


def pack(right: NDArray[np.bool_]) -> str:
    """Booleans ``[n]`` as base64 of their bits."""
    return base64.b64encode(np.packbits(right).tobytes()).decode("ascii")


def unpack(text: str, count: int) -> NDArray[np.bool_]:
    """The first ``count`` booleans of a text that :func:`pack` made."""
    bits = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.unpackbits(bits, count=count).astype(np.bool_)
