"""Which images of a split are classified right, in a form that fits into a result file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(right: Sequence[bool] | NDArray[np.bool_]) -> dict[str, Any]:
    """Booleans ``[n]``: how many they are, and their bits as base64."""
    bits = np.packbits(np.asarray(right, dtype=np.bool_))
    return {"images": len(right), "bits": base64.b64encode(bits.tobytes()).decode("ascii")}


def unpack(packed: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The booleans that :func:`pack` took."""
    bits = np.frombuffer(base64.b64decode(packed["bits"]), np.uint8)
    return np.unpackbits(bits, count=packed["images"]).astype(np.bool_)
