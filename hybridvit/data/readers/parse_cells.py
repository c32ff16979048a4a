"""What one cell of a manifest says: classes, numbers, points and boxes, before names become indices.

An empty cell is a missing label and never comes here. Every function raises ValueError saying what is wrong.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

NO_CLASS = "none"  # a multilabel cell that is labelled, with no class
WHOLE = re.compile(r"[+-]?\d+(\.0*)?")
SEPARATORS = re.compile(r"[|;]")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no finite number; write null where there is no label")


JSON = json.JSONDecoder(parse_constant=_refuse)  # made once: manifests have many cells

V = TypeVar("V")
Point = tuple[float, float] | None
Box = tuple[str, float, float, float, float]


def whole_number(cell: str) -> str:
    """A whole number without sign, leading zeros and decimals that say nothing: "+01.0" is "1"."""
    return str(int(cell.partition(".")[0]))


def multilabel(cell: str) -> list[str]:
    """Class names separated by ``|`` or ``;``, or a JSON list of them; ``none`` and ``[]`` are no class."""
    if cell == NO_CLASS:
        return []
    if cell.startswith("["):
        names = [name(entry) for entry in _json(cell)]
    else:
        names = [label.strip() for label in SEPARATORS.split(cell)]
        if not all(names):
            raise ValueError(f"{shortened(cell)} has an empty class name (no class at all is written {NO_CLASS})")
    if len(set(names)) < len(names):
        raise ValueError(f"{shortened(cell)} names a class twice")
    return names


def numbers(cell: str) -> list[float] | dict[str, float]:
    """One number, a JSON list of numbers, or a JSON object name -> number; null is a missing one (NaN)."""
    if not cell.startswith(("[", "{")):
        return [number(cell)]
    return _entries(cell, lambda value: math.nan if value is None else number(value))


def points(cell: str) -> list[Point] | dict[str, Point]:
    """A JSON list of [x, y] or null, or a JSON object name -> [x, y] or null; in pixels."""
    return _entries(cell, _point)


def boxes(cell: str, folder: Path) -> list[Box]:
    """A JSON list of {"class": name, "box": [x1, y1, x2, y2]} or [class, x1, y1, x2, y2], in pixels.

    The cell may also be a path to a .json file with that list, relative to ``folder``.
    """
    if not cell.startswith("["):
        if not cell.lower().endswith(".json"):
            raise ValueError(f"{shortened(cell)} is neither a JSON list of boxes nor a path to a .json file")
        try:
            text = (folder / cell).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{cell} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        entries = _json(text.strip())
    else:
        entries = _json(cell)
    if not isinstance(entries, list):
        raise ValueError("boxes are a JSON list, given an object")
    return [_box(entry) for entry in entries]


def number(value: Any) -> float:
    """A finite number (also as float32) from text or JSON."""
    try:
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):
            raise ValueError
        result = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{shortened(value)} is no number") from None
    if not abs(result) < 3.4e38:
        raise ValueError(f"{shortened(value)} is no finite number; leave the cell empty where there is no label")
    return result


def name(value: Any) -> str:
    """A class name from JSON; a whole number is its own name."""
    if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
        raise ValueError(f"{shortened(value)} is no class name")
    return str(value).strip()


def shortened(value: Any) -> str:
    """The value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _json(cell: str) -> Any:
    try:
        value = JSON.decode(cell)
    except json.JSONDecodeError as error:
        raise ValueError(f"{shortened(cell)} is no valid JSON ({error.msg})") from None
    if not isinstance(value, list | dict):
        raise ValueError(f"{shortened(cell)} is neither a JSON list nor a JSON object")
    return value


def _entries(cell: str, parse: Callable[[Any], V]) -> list[V] | dict[str, V]:
    values = _json(cell)
    if isinstance(values, dict):
        return {key: parse(value) for key, value in values.items()}
    return [parse(value) for value in values]


def _point(value: Any) -> Point:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"{shortened(value)} is no point [x, y]")
    return number(value[0]), number(value[1])


def _box(entry: Any) -> Box:
    if isinstance(entry, dict):
        if set(entry) != {"class", "box"}:
            raise ValueError(f"a box has the keys class and box, given {', '.join(entry) or 'none'}")
        entry = [entry["class"], *(entry["box"] if isinstance(entry["box"], list) else [])]
    if not isinstance(entry, list) or len(entry) != 5:
        raise ValueError(f"{shortened(entry)} is no box [class, x1, y1, x2, y2]")
    x1, y1, x2, y2 = (number(value) for value in entry[1:])
    if x2 <= x1 or y2 <= y1:
        raise ValueError(f"box {shortened(entry)} has no area: expected x1 < x2 and y1 < y2, not width and height")
    return name(entry[0]), x1, y1, x2, y2
