"""The fields of a configuration, as ``--help`` lists them."""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal

from hybridvit.cli.console import DONE
from hybridvit.cli.field_types import alternatives, configurations, kind_of
from hybridvit.config import Config, to_dict

COLUMN = 34  # where what a field means begins
AS_BASE = ("without", "baseline")  # rows of an ablation: they change with its base
WORDS = {int: "INT", float: "FLOAT", str: "TEXT", bool: "", type(None): "None"}
NOTES = """\
--X.kind VALUE switches to another kind and keeps the values of the fields that both kinds have. --model NAME takes a
model of `hybridvit models`. --no-FIELD turns a switch off. None is written as it is."""


def print_help(config: Config, program: str) -> None:
    """Prints every field of a configuration: its flag, its type, what it means and its value."""
    width = min(shutil.get_terminal_size((110, 24)).columns, 120)
    print(f"usage: {program} [--FIELD VALUE ...]\n\n{_summary(type(config))}")
    for flag, text in _entries(config, ""):
        lines = textwrap.wrap(text, width - COLUMN, break_on_hyphens=False) if flag else textwrap.wrap(text, width)
        if len(flag) >= COLUMN and lines:
            print(flag)
        elif lines:
            print(f"{flag:<{COLUMN if flag else 0}}{lines.pop(0)}")
        else:
            print(flag)
        for line in lines:
            print(f"{'' if not flag else ' ' * COLUMN}{line}")
    print(f"\n{textwrap.fill(' '.join(NOTES.split()), width)}")


def study_help() -> int:
    """Prints the fields of any study of learning curves."""
    from hybridvit.backbones import ViTConfig
    from hybridvit.recipe import Recipe
    from hybridvit.studies.learning_curve.study import Study

    vit = ViTConfig()
    study = Study(
        title="QUESTION",
        base=Recipe(name="NAME", model=vit),
        models={"NAME": vit},
        reference="NAME",
        train_sizes=(1000,),
    )
    print_help(study, "hybridvit study RECIPE [--out FOLDER]")
    return DONE


def recipe_help() -> int:
    """Prints the fields of any recipe."""
    from hybridvit.backbones import ViTConfig
    from hybridvit.recipe import Recipe

    print_help(Recipe(name="NAME", model=ViTConfig()), "hybridvit train RECIPE [--out FOLDER]")
    return DONE


def head_help() -> int:
    """Prints the fields of the fine-tuning of any head."""
    from hybridvit.recipe import HeadFinetuneConfig
    from hybridvit.tasks.classification import ClassificationConfig

    program = "hybridvit finetune-head RUN --task NAME [--kind KIND] [--checkpoint NAME]"
    print_help(HeadFinetuneConfig(head=ClassificationConfig()), program)
    return DONE


def _entries(config: Any, prefix: str) -> Iterator[tuple[str, str]]:
    """A flag and its meaning for each field that holds a value, then a section for each that holds fields."""
    cls = config if isinstance(config, type) else type(config)
    types, meanings, sections = typing.get_type_hints(cls, include_extras=True), field_docs(cls), []
    yield "", ""
    for field in fields(cls):
        kind, value = types[field.name], _value(config, field)
        if field.name in AS_BASE or (typing.get_origin(kind) is Literal and len(typing.get_args(kind)) == 1):
            continue
        if configurations(kind):
            sections.append((field.name, kind, value))
        elif isinstance(value, dict) and any(is_dataclass(entry) for entry in value.values()):
            inner = typing.get_args(alternatives(kind)[0])[1]
            sections += [(f"{field.name}.{name}", inner, entry) for name, entry in value.items()]
        else:
            given = "required" if value is MISSING else f"now {_shown(value)}"
            flag = f"  --{prefix}{field.name} {_type_words(kind)}".rstrip()
            yield flag, f"{meanings.get(field.name, '')} [{given}]".lstrip()
    listed: dict[type, str] = {}
    for name, kind, value in sections:
        yield from _section(f"{prefix}{name}", kind, value, listed)


def _section(path: str, kind: Any, value: Any, listed: dict[type, str]) -> Iterator[tuple[str, str]]:
    """The fields of a configuration within another; of a class that is listed already, where its fields stand."""
    options = configurations(kind)
    shown = options[0] if value is None or value is MISSING else value
    cls = shown if isinstance(shown, type) else type(shown)
    yield "", ""
    yield "", f"{path}: {_summary(cls)}" + (" [now None]" if value is None else "")
    if len(options) > 1:
        yield f"  --{path}.kind", f"{', '.join(kind_of(option) for option in options)} [now {kind_of(shown)}]"
    if cls in listed:
        yield "", f"  its fields are those of {listed[cls]}"
        return
    listed[cls] = path
    yield from list(_entries(shown, f"{path}."))[1:]


def field_docs(cls: type) -> dict[str, str]:
    """What each field means, from the "Attributes" of the class's docstring and of its bases'."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, attributes = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        block = re.split(r"\n(?=\S)", attributes)[0]
        for match in re.finditer(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", block, re.MULTILINE):
            docs[match[1]] = re.sub(r":\w+:`~?([^`]+)`|``([^`]+)``", r"\1\2", " ".join(match[2].split()))
    return docs


def _summary(cls: type) -> str:
    """The first line of a docstring."""
    return inspect.cleandoc(cls.__doc__ or "").partition("\n")[0]


def _value(config: Any, field: Any) -> Any:
    """A field's value, or the default of a class that is not made."""
    if not isinstance(config, type):
        return getattr(config, field.name)
    return field.default_factory() if field.default_factory is not MISSING else field.default


def _type_words(kind: Any) -> str:
    """A field's type in words, as in ``INT|None``."""
    return "|".join(word for word in dict.fromkeys(map(_type_word, alternatives(kind))) if word)


def _type_word(kind: Any) -> str:
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        return "|".join(map(str, arguments))
    if typing.get_origin(kind) is tuple:
        return " ".join("..." if part is Ellipsis else _type_words(part) for part in arguments)
    if typing.get_origin(kind) is dict:
        return f"NAME {_type_words(arguments[1])} ..."
    return WORDS.get(kind, str(getattr(kind, "__name__", kind)).upper())


def _shown(value: Any) -> str:
    """A value as one would write it after the flag."""
    value = to_dict(value)
    if isinstance(value, list):
        return " ".join(_shown(part) for part in value) or "empty"
    if isinstance(value, dict):
        return " ".join(f"{name} {_shown(part)}" for name, part in value.items()) or "empty"
    return str(value)
