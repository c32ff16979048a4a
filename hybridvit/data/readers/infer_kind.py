"""What a column of a manifest seems to hold, inferred from its cells."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hybridvit.data.readers import parse_cells as parse
from hybridvit.data.readers.folder import SUFFIXES

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)
FEW = 20  # different whole numbers that are certainly classes
OFTEN = 5  # how often each occurs if there are more


def infer_kind(cells: Sequence[str]) -> str:
    """A column kind, "text" where every cell is another one, "empty" where there is no label."""
    filled = [cell for cell in cells if cell]
    if not filled:
        return "empty"
    counts = Counter(_form(cell) for cell in filled)
    form, often = counts.most_common(1)[0]
    if form in ("json", "file"):
        kinds = Counter(kind for cell in filled if (kind := _json_kind(cell)))
        return kinds.most_common(1)[0][0] if kinds else "boxes"
    if form == "image" and 2 * often >= len(filled):
        return "mask"
    different = set(filled)
    if form == "number" and 2 * often >= len(filled):
        whole = all(parse.WHOLE.fullmatch(cell) for cell in different if _form(cell) == "number")
        return "class" if whole and (len(different) <= FEW or len(different) * OFTEN <= len(filled)) else "numbers"
    if any(parse.SEPARATORS.search(cell) for cell in different):
        names = {name.strip() for cell in different for name in parse.SEPARATORS.split(cell)}
        return "multilabel" if len(names) <= max(FEW, len(filled) // 2) else "text"
    return "text" if len(filled) > 2 and 2 * len(different) > len(filled) + FEW // 2 else "class"


def _form(cell: str) -> str:
    if cell.startswith(("[", "{")):
        return "json"
    lower = cell.lower()
    if lower.endswith(".json"):
        return "file"
    if lower.endswith(SUFFIXES):
        return "image"
    return "number" if NUMBER.fullmatch(cell) else "name"


def _json_kind(cell: str) -> str | None:
    if cell.lower().endswith(".json"):
        return "boxes"
    try:
        value = json.loads(cell)
    except ValueError:
        return None
    entries: list[Any] = [
        entry for entry in (value.values() if isinstance(value, dict) else value) if entry is not None
    ]
    if not entries:
        return None
    first = entries[0]
    if isinstance(first, dict) or (isinstance(first, list) and len(first) == 5):
        return "boxes"
    if isinstance(first, list):
        return "points"
    return "multilabel" if isinstance(first, str) else "numbers"
