"""Frozen dataclasses to YAML and back, strictly: an unknown field is refused with the nearest name."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable
from typing import Any, TypeVar

C = TypeVar("C")
MANY = 16  # choices that are still worth listing


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint that names the choices nearest to what was given: "did you mean a or b?"."""
    choices = list(choices)
    folded = {choice.lower(): choice for choice in choices}
    found = [folded[match] for match in difflib.get_close_matches(name.lower(), folded, n=2, cutoff=0.5)]
    if found:
        return f"did you mean {' or '.join(found)}?"
    if len(choices) > MANY:
        return f"choose from {', '.join(choices[:MANY])}, … ({len(choices)} in all)"
    return f"choose from {', '.join(choices)}"


def to_dict(config: Any) -> Any:
    """A configuration as plain mappings, lists and scalars."""
    if dataclasses.is_dataclass(config):
        return {field.name: to_dict(getattr(config, field.name)) for field in dataclasses.fields(config)}
    if isinstance(config, dict):
        return {key: to_dict(value) for key, value in config.items()}
    if isinstance(config, tuple):
        return [to_dict(value) for value in config]
    return config


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
    config: C = from_dict(cls, data)
    return config


def from_dict(kind: Any, data: Any, path: str = "") -> Any:
    """A value of the given type from plain mappings, lists and scalars; ``path`` names it in errors."""
    variants = [option for option in _options(kind) if dataclasses.is_dataclass(option)]
    if data is None and type(None) in _options(kind):
        return None
    if variants and isinstance(data, dict):
        return _dataclass(_variant(variants, data, path), data, path)
    if typing.get_origin(kind) is dict and isinstance(data, dict):
        value_kind = typing.get_args(kind)[1]
        return {str(key): from_dict(value_kind, value, _join(path, str(key))) for key, value in data.items()}
    if variants:
        raise ValueError(f"{path or 'the recipe'} should be a mapping of fields, given {data!r}")
    from pydantic import ConfigDict, TypeAdapter, ValidationError  # takes a third of a second to import

    try:
        return TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(_tuples(data))
    except ValidationError as error:
        wanted = " or ".join(dict.fromkeys(part["msg"].removeprefix("Input should be ") for part in error.errors()))
        raise ValueError(f"{path} should be {wanted}, given {data!r}") from error


def _tuples(data: Any) -> Any:
    """Lists, and those in them, as tuples."""
    return tuple(_tuples(part) for part in data) if isinstance(data, list) else data


def field_paths(config: Any, prefix: str = "") -> list[str]:
    """The dotted names of all fields of a configuration that hold no further fields."""
    if dataclasses.is_dataclass(config):
        items = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    elif isinstance(config, dict):
        items = config
    else:
        return [prefix]
    return [path for name, value in items.items() for path in field_paths(value, _join(prefix, name))]


def _dataclass(cls: Any, data: dict[str, Any], path: str) -> Any:
    kinds = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for name in data:
        if name not in fields:
            raise ValueError(f"unknown field {_join(path, str(name))}: {nearest(str(name), fields)}")
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in data:
            raise ValueError(f"field {_join(path, name)} is missing")
    values = {name: from_dict(kinds[name], value, _join(path, name)) for name, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}" if path else str(error)) from error


def _variant(variants: list[Any], data: dict[str, Any], path: str) -> Any:
    if len(variants) == 1:
        return variants[0]
    by_kind = {variant.__dataclass_fields__["kind"].default: variant for variant in variants}
    kind = data.get("kind")
    if kind not in by_kind:
        raise ValueError(f"{_join(path, 'kind')} is {kind!r}: {nearest(str(kind), by_kind)}")
    return by_kind[kind]


def _options(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if typing.get_origin(kind) in (typing.Union, types.UnionType) else (kind,)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
