"""What a field's annotation says to the command line: its alternatives, and how words are read as its value."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import is_dataclass
from io import StringIO
from typing import Annotated, Any


def alternatives(kind: Any) -> tuple[Any, ...]:
    """The types that a value may have: the members of a union, without what annotates them."""
    if typing.get_origin(kind) is Annotated:
        return alternatives(typing.get_args(kind)[0])
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return tuple(option for member in typing.get_args(kind) for option in alternatives(member))
    return (kind,)


def configurations(kind: Any) -> tuple[Any, ...]:
    """The classes of configurations that a field may hold."""
    return tuple(option for option in alternatives(kind) if is_dataclass(option))


def kind_of(option: Any) -> str:
    """What a configuration of a union is called in its field ``kind``."""
    return str(getattr(option, "kind", ""))


def read_words(kind: Any, words: Sequence[str]) -> Any:
    """Words of the command line as a value of a field's type; words that do not fit it are left to the field's check.

    Raises:
        ValueError: there is no word for a field that needs one.
    """
    import tyro

    options = alternatives(kind)
    if not words and bool in options:
        return True
    try:
        with redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            return tyro.cli(kind, args=list(words), prog="")
    except SystemExit:
        if not words:
            raise ValueError("is given without a value") from None
    single = len(words) == 1 and any(typing.get_origin(option) not in (tuple, dict) for option in options)
    values = [_number_or_text(word) for word in words]
    return values[0] if single else values


def _number_or_text(word: str) -> Any:
    try:
        return json.loads(word)
    except ValueError:
        return word
