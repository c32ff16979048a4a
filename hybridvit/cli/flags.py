"""Flags such as ``--optim.lr 1e-3``: they change the fields of a configuration.

A flag is a path of fields and its words. The field's type says how the words are read; the changed configuration is
then checked as a whole, so that an error on the command line reads as it does in Python.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import MISSING, fields, is_dataclass, replace
from io import StringIO
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from hybridvit.config import Config, alternatives, field_values, from_dict, kinds, nearest, to_dict
from hybridvit.recipe import Recipe
from hybridvit.studies.ablation.study import Ablation

C = TypeVar("C", bound=Config)
Setting = tuple[str, list[str]]  # the path of a field, and the words after it
ROWS = ("without", "baseline")  # rows of an ablation: they change with its base


def apply_flags(config: C, flags: Sequence[str], program: str) -> C:
    """The configuration with fields changed by flags.

    ``--optim.kind muon`` switches to another kind and keeps the values of the fields that both kinds have;
    ``--model NAME`` takes a named model. Both apply before the fields below them, in whatever order they are given.
    Of an ablation, flags change the base, and every row along with it in the fields where the row is like the base.

    Args:
        config: what the flags change.
        flags: words of the command line.
        program: the command before its flags, for its help.

    Raises:
        ValueError: an unknown field (with its new or the nearest name), or a value that does not fit its field.
        SystemExit: the flags ask for help, which is printed.
    """
    if "-h" in flags or "--help" in flags:
        from hybridvit.cli.field_help import print_help

        print_help(config, f"{program} [--FIELD VALUE ...]")
        raise SystemExit(0)
    settings = _settings(flags)
    if not settings:
        return config
    if isinstance(config, Ablation):
        return typing.cast(C, _changed_ablation(config, settings))
    return from_dict(type(config), _changed(type(config), to_dict(config), settings))


def _settings(flags: Sequence[str]) -> list[Setting]:
    """Each flag with the words that follow it."""
    settings: list[Setting] = []
    for flag in flags:
        if flag.startswith("--"):
            path, equals, value = flag[2:].partition("=")
            settings.append((path, [value] if equals else []))
        elif flag.startswith("-") and not flag[1:2].isdigit() and flag[1:2] != ".":
            raise ValueError(f"unknown flag {flag}: fields are named in full, as in --seed 1")
        elif not settings:
            raise ValueError(f"unexpected argument {flag!r}: fields are changed by --FIELD VALUE")
        else:
            settings[-1][1].append(flag)
    return settings


def _changed(cls: type[Config], data: dict[str, Any], settings: Iterable[Setting]) -> dict[str, Any]:
    """A configuration, written as plain mappings, with settings applied and not checked yet; kinds come first."""
    for path, words in sorted(settings, key=lambda one: (one[0].count("."), not one[0].endswith(".kind"))):
        try:
            data = _with(cls, data, path, words)
        except _UnknownField as hint:
            raise ValueError(f"unknown field {path}: {str(hint) or _nearest_path(path, data)}") from None
        except ValueError as error:
            raise ValueError(f"{path} {error}") from None
    return data


class _UnknownField(Exception):
    """A path leads to no field; the text is a hint, or empty."""


def _with(annotation: Any, value: Any, path: str, words: list[str]) -> Any:
    """A value of a type, with what stands at a path below it changed."""
    options = kinds(annotation)
    if not path:
        named = options and words != ["None"]
        return _named(annotation, words) if named else _read_words(annotation, words)
    if value is None and options:
        value = _defaults(next(iter(options.values())))
    if not isinstance(value, dict):
        raise _UnknownField
    owner = options.get(value.get("kind", ""))
    types = typing.get_type_hints(owner, include_extras=True) if owner else dict.fromkeys(value, element(annotation))
    names = [field.name for field in fields(owner)] if owner else list(value)
    written = [f"{path}.", f"{path.replace('-', '_')}."]  # dashes may stand for underscores
    key = next((name for name in names if any(one.startswith(f"{name}.") for one in written)), None)
    if key is None:
        switch = path.replace("-", "_").removeprefix("no_")
        if value.get(switch) in (True, False) and not words:
            return {**value, switch: False}
        raise _UnknownField(_hint(path, owner, options))
    if path == "kind" and len(options) > 1:
        return _switched(value, owner, options.get(" ".join(words)), words)
    return {**value, key: _with(types[key], value.get(key), path[len(key) + 1 :], words)}


def element(annotation: Any) -> Any:
    """The type of what a mapping holds; of any other type None."""
    mapping = alternatives(annotation)[0]
    return typing.get_args(mapping)[1] if typing.get_origin(mapping) is dict else None


def _named(annotation: Any, words: list[str]) -> Any:
    """A configuration that is given by its name, as fields; what is no such name is left to the check."""
    word = words[0] if len(words) == 1 else words
    try:
        return to_dict(TypeAdapter(annotation).validate_python(word))
    except ValidationError:
        return word


def _read_words(annotation: Any, words: Sequence[str]) -> Any:
    """Words of the command line as a value of a field's type; words that do not fit it are left to the field's check.

    Raises:
        ValueError: there is no word for a field that needs one.
    """
    import tyro

    options = alternatives(annotation)
    if not words and bool in options:
        return True
    try:
        with redirect_stderr(StringIO()), redirect_stdout(StringIO()):
            return tyro.cli(annotation, args=list(words), prog="")
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


def _switched(value: dict[str, Any], owner: Any, chosen: Any, words: list[str]) -> dict[str, Any]:
    """The fields of another kind, with the values of those that both kinds have; an unknown kind fails the check."""
    if chosen is None:
        return {"kind": " ".join(words)}
    before, after = typing.get_type_hints(owner), typing.get_type_hints(chosen)
    kept = {name: value[name] for name in value if name != "kind" and before[name] == after.get(name)}
    return {**_defaults(chosen), **kept}


def values_or_defaults(config: Any) -> dict[str, Any]:
    """The values of a configuration's fields, or of a class's their defaults; MISSING where there is none."""
    if not isinstance(config, type):
        return {field.name: getattr(config, field.name) for field in fields(config)}
    return {
        field.name: field.default if field.default_factory is MISSING else field.default_factory()
        for field in fields(config)
    }


def _defaults(cls: Any) -> dict[str, Any]:
    """The fields of a configuration that have defaults, as plain mappings."""
    return {name: to_dict(value) for name, value in values_or_defaults(cls).items() if value is not MISSING}


def _changed_ablation(config: Ablation, settings: list[Setting]) -> Ablation:
    """An ablation whose base is changed, and every row along with it."""
    data = to_dict(config)
    rows = {name: data.pop(name) for name in ROWS}
    data = _changed(Ablation, data, settings)
    try:
        base = from_dict(Recipe, data["base"])
    except ValueError as error:
        raise ValueError(f"base.{error}") from None
    rows["without"] = {name: to_dict(_carried(row, config.base, base)) for name, row in config.without.items()}
    rows["baseline"] = to_dict(_carried(config.baseline, config.base, base))
    return from_dict(Ablation, {**data, **rows})


def _carried(row: Any, before: Any, after: Any) -> Any:
    """The row with every change from ``before`` to ``after`` in the fields where it does not differ from ``before``.

    Configurations of several kinds share the fields of the base class that they have in common.
    """
    if row == before:
        return after
    if isinstance(row, dict) and before.keys() == after.keys():
        return {key: _carried(row[key], before[key], after[key]) if key in before else row[key] for key in row}
    shared = next((cls for cls in type(row).__mro__ if isinstance(before, cls) and isinstance(after, cls)), object)
    if not is_dataclass(shared) or isinstance(row, type):
        return row
    names = [field.name for field in fields(shared) if field.name != "kind"]
    return replace(row, **{name: _carried(*(getattr(one, name) for one in (row, before, after))) for name in names})


def _hint(path: str, owner: Any, options: dict[str, Any]) -> str:
    """Why a configuration has no such field: it has another name by now, or another kind has it."""
    name = path.split(".")[0].replace("-", "_")
    if name in getattr(owner, "renamed", {}):
        return f"it is now called {owner.renamed[name]}"
    others = [kind for kind, option in options.items() if name in {field.name for field in fields(option)}]
    return f"{owner.kind} has none, but kind {' or '.join(others)} has" if others else ""


def _nearest_path(path: str, data: dict[str, Any]) -> str:
    """The nearest field: by its own name wherever it stands, or by its whole path."""
    names = list(field_values(data))
    path = path.replace("-", "_")
    last = path.rpartition(".")[2]
    exact = [name for name in names if name.rpartition(".")[2] == last]
    if exact:
        return f"did you mean {' or '.join(exact[:3])}?"
    close = nearest(path, names)
    return close if "did you mean" in close or len(names) < 12 else "--help lists the fields"
