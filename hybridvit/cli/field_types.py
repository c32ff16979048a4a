"""What a field's annotation says to the command line: its alternatives, and how words are read as its value."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, Literal

TRUTH = {"true": True, "false": False}


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
    """Words of the command line as a value of a field's type, as far as they fit it; the rest is the field's check.

    One word may be a scalar, ``None`` or a list of one; several are a list, in groups where the field is a list of
    tuples, or names and values by turns where it is a mapping.

    Raises:
        ValueError: there is no word for a field that needs one.
    """
    options = alternatives(kind)
    if type(None) in options and list(words) == ["None"]:
        return None
    scalars = [option for option in options if typing.get_origin(option) not in (tuple, dict)]
    if not words and bool in scalars:
        return True
    if len(words) == 1 and set(scalars) - {type(None)}:
        return _scalar(scalars, words[0])
    for option in options:
        arguments = typing.get_args(option)
        if typing.get_origin(option) is dict and len(words) % 2 == 0:
            names, values = words[::2], words[1::2]
            return {name: read_words(arguments[1], [value]) for name, value in zip(names, values, strict=True)}
        if typing.get_origin(option) is tuple:
            return _list(arguments, words)
    if not words:
        raise ValueError("is given without a value")
    return list(words)


def _list(arguments: tuple[Any, ...], words: Sequence[str]) -> list[Any]:
    """The items of a tuple type, from one word each or, where items are tuples themselves, from several."""
    if Ellipsis not in arguments:
        kinds = [*arguments, *[arguments[-1]] * len(words)]
        return [read_words(kind, [word]) for kind, word in zip(kinds, words, strict=False)]
    inner = typing.get_args(arguments[0]) if typing.get_origin(arguments[0]) is tuple else ()
    width = len(inner) if inner and Ellipsis not in inner else 1
    return [read_words(arguments[0], words[start : start + width]) for start in range(0, len(words), width)]


def _scalar(kinds: Sequence[Any], word: str) -> Any:
    """A word as text, truth or number, whichever the field takes; as it is, where it is none of them."""
    literals = [choice for kind in kinds if typing.get_origin(kind) is Literal for choice in typing.get_args(kind)]
    if str in kinds or word in literals:
        return word
    if bool in kinds and word.lower() in TRUTH:
        return TRUTH[word.lower()]
    for number in (int, float) if {int, float} & set(kinds) else ():
        try:
            return number(word)
        except ValueError:
            continue
    return word
