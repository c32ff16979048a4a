"""Strict configurations: frozen dataclasses that check every field when they are made, and their YAML.

A configuration is a subclass of :class:`Config`. Its annotations are its rules: types, literals, ranges and nested
configurations are checked by pydantic, in Python as in YAML and on the command line. What annotations cannot say, such
as "has no effect without", stands in the class's ``__post_init__``.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import numbers
import os
import types
import typing
from abc import ABCMeta
from collections.abc import Iterable, Sequence
from dataclasses import field
from itertools import groupby
from typing import Annotated, Any, ClassVar, TypeVar, dataclass_transform

from annotated_types import Interval
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

C = TypeVar("C", bound="Config")
MANY = 16  # choices that are still worth listing

PositiveInt = Annotated[int, Interval(ge=1)]
NonNegativeInt = Annotated[int, Interval(ge=0)]
PositiveFloat = Annotated[float, Interval(gt=0)]
NonNegativeFloat = Annotated[float, Interval(ge=0)]
Probability = Annotated[float, Interval(ge=0, le=1)]
Fraction = Annotated[float, Interval(ge=0, lt=1)]
OpenFraction = Annotated[float, Interval(gt=0, lt=1)]

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class _Checked(ABCMeta):
    """Makes a configuration, and says in one line why it cannot be made."""

    def __call__(cls, *arguments: Any, **values: Any) -> Any:
        if arguments:
            raise TypeError(f"{cls.__name__} takes its fields by name, given {arguments[0]!r} without one")
        try:
            return super().__call__(**{name: plain(value) for name, value in values.items()})
        except ValidationError as error:
            raise ValueError(message(cls, error)) from None


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class Config(metaclass=_Checked):
    """Base of all configurations: frozen, keyword-only, checked when made.

    Attributes:
        renamed: old name of a field, or FIELD=VALUE with an old value of a literal -> the present name or value; errors
            name it.

    Raises:
        ValueError: a field is unknown, missing, of another type or out of range; one line that names the field, what
            was given, and the choices or the nearest of them.
    """

    renamed: ClassVar[dict[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        dataclass(frozen=True, kw_only=True, config=STRICT)(cls)


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint that names the choices nearest to what was given: "did you mean a or b?"."""
    choices = list(choices)
    folded = {choice.lower(): choice for choice in choices}
    matches = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=2, cutoff=0.5)]
    if matches:
        return f"did you mean {' or '.join(matches)}?"
    if len(choices) > MANY:
        return f"choose from {', '.join(choices[:MANY])}, … ({len(choices)} in all)"
    return f"choose from {', '.join(choices)}"


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The types that a value may have: the members of a union, without what annotates them."""
    if typing.get_origin(annotation) is Annotated:
        return alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(option for member in typing.get_args(annotation) for option in alternatives(member))
    return (annotation,)


def kinds(annotation: Any) -> dict[str, Any]:
    """The classes of configurations that a value may be, by their kind; "" is that of a class without one."""
    return {_label(option): option for option in alternatives(annotation) if dataclasses.is_dataclass(option)}


def runs_in_words(items: Iterable[str]) -> str:
    """Items in order, those that repeat counted: "gpsa x10, mhsa x2"."""
    counts = [(item, len(list(run))) for item, run in groupby(items)]
    return ", ".join(item if count == 1 else f"{item} x{count}" for item, count in counts)


def to_dict(config: Any) -> Any:
    """A configuration as plain mappings, lists and scalars."""
    return TypeAdapter(Any).dump_python(config, mode="json")


def to_yaml(config: Any) -> str:
    """A configuration as YAML, every field written out."""
    import yaml

    return yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None, width=100)


def from_yaml(cls: type[C], text: str) -> C:
    """A configuration from YAML.

    Raises:
        ValueError: naming the field that is unknown, missing or of another type.
    """
    import yaml

    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"no valid YAML: {' '.join(str(error).split())}") from error
    return from_dict(cls, data)


def from_dict(cls: type[C], data: Any) -> C:
    """A configuration from plain mappings, lists and scalars; errors as for :func:`from_yaml`."""
    if not isinstance(data, dict):
        raise ValueError(f"{cls.__name__} is written as a mapping of fields, given {data!r}")
    try:
        return TypeAdapter(cls).validate_json(json.dumps(data, default=str))  # as JSON, lists may become tuples
    except ValidationError as error:
        raise ValueError(message(cls, error)) from error


def field_values(config: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a configuration's fields that hold no further fields, plain, by their dotted names."""
    values: dict[str, Any] = {}
    for name, value in to_dict(config).items():
        path = f"{prefix}{name}"
        values |= field_values(value, f"{path}.") if isinstance(value, dict) else {path: value}
    return values


def message(cls: type, error: ValidationError) -> str:
    """The first fault of a failed validation as one line; of a union, what any of its members would take."""
    faults = error.errors(include_url=False)
    faults.sort(key=lambda one: one["type"] != "unexpected_keyword_argument")  # a typing error explains what is missing
    first = _locate(cls, faults[0]["loc"])[0]
    near = [one for one in faults if f"{_locate(cls, one['loc'])[0]}.".startswith(f"{first}.")]
    deepest = max(near, key=lambda one: len(one["loc"]))  # the member of a union that fits best
    path, owner, kind = _locate(cls, deepest["loc"])
    same = [one for one in near if _locate(cls, one["loc"])[0] == path]
    fault, name = same[0], path.rpartition(".")[2]
    given, context = fault["input"], fault.get("ctx", {})
    match fault["type"]:
        case "unexpected_keyword_argument":
            renamed: dict[str, str] = getattr(owner, "renamed", {})
            fields = [field.name for field in dataclasses.fields(owner)]
            return f"unknown field {path}: " + (
                f"it is now called {renamed[name]}" if name in renamed else nearest(name, fields)
            )
        case "missing" | "missing_argument" | "missing_keyword_only_argument":
            return f"field {path} is missing"
        case "value_error":
            return f"{path}: {context['error']}" if path else str(context["error"])
        case "union_tag_invalid" | "union_tag_not_found" if isinstance(given, dict):
            tags = [_label(member) for member in _members(kind)]
            tag = given.get("kind", "")
            return f"{path}.kind is {repr(tag) if tag else 'missing'}: {nearest(str(tag), tags)}"
    if any(dataclasses.is_dataclass(member) for member in _members(kind)):
        names = [member.__name__ for member in _members(kind)]
        return f"{path} must be {'one of ' if len(names) > 1 else 'a '}{', '.join(names)}, given {_shown(given)}"
    choices = [_expected(one["type"], one["msg"], one.get("ctx", {})) for one in same]
    hint = ""
    if fault["type"] == "literal_error":
        present = getattr(owner, "renamed", {}).get(f"{name}={given}")
        options = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        close = nearest(str(given), options)
        hint = f": {close}" if close.startswith("did you mean") else ""
        hint = f": it is now called {present}" if present else hint
    return f"{path} must be {' or '.join(dict.fromkeys(choices))}, given {_shown(given)}{hint}"


def _expected(kind: str, text: str, context: dict[str, Any]) -> str:
    """What a field should have been, in words that follow "must be"."""
    bounds = {
        "greater_than_equal": "at least",
        "greater_than": "above",
        "less_than_equal": "at most",
        "less_than": "below",
    }
    if kind in bounds:
        return f"{bounds[kind]} {next(iter(context.values())):g}"
    if kind == "literal_error":
        return str(context["expected"]).replace("'", "")
    if kind in ("tuple_type", "too_long"):
        return f"a list of at most {context['max_length']}" if context else "a list"
    if kind in ("too_short", "string_too_short"):
        return f"at least {context['min_length']} long"
    return text.removeprefix("Input should be ").replace("a valid ", "a ").replace("a integer", "an integer")


def _shown(value: Any) -> str:
    """What was given, short enough for one line."""
    text = type(value).__name__ if dataclasses.is_dataclass(value) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _locate(cls: Any, location: Sequence[int | str]) -> tuple[str, Any, Any]:
    """Where a fault lies: its dotted path, the configuration that holds the field, and the type it should have.

    Pydantic names the member of a union in a step of its own, which is no part of the path.
    """
    path: list[str] = []
    kind = owner = cls
    for step in location:
        members = _members(kind)
        if len(members) > 1:
            kind = next((member for member in members if _label(member) == str(step).partition("[")[0]), Any)
            continue
        path.append(str(step))
        if dataclasses.is_dataclass(members[0]):
            owner = members[0]
            kind = typing.get_type_hints(owner).get(str(step), Any)
        else:
            kind = _element(members[0], step)
    return ".".join(path), owner, kind


def _members(kind: Any) -> tuple[Any, ...]:
    """The types that a value of this type may have, None apart."""
    return tuple(option for option in alternatives(kind) if option is not type(None)) or (kind,)


def _label(member: Any) -> str:
    """What pydantic calls a member of a union in the place of a fault: a configuration by its kind, or the type."""
    if dataclasses.is_dataclass(member):
        return str(getattr(member, "kind", ""))
    return str(getattr(typing.get_origin(member) or member, "__name__", ""))


def _element(kind: Any, step: int | str) -> Any:
    """The type of what a mapping or a tuple holds at a key or index."""
    arguments = typing.get_args(kind) or (Any,)
    if typing.get_origin(kind) is dict:
        return arguments[1]
    return arguments[0] if Ellipsis in arguments else arguments[min(int(step), len(arguments) - 1)]


def plain(value: Any) -> Any:
    """Lists as tuples, paths as strings and NumPy's numbers as Python's: all are welcome where their like is wanted."""
    if isinstance(value, list | tuple):
        return tuple(plain(part) for part in value)
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        return int(value)
    return float(value) if isinstance(value, numbers.Real) and not isinstance(value, int) else value
