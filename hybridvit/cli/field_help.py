"""The fields of a configuration, as ``--help`` lists them."""

from __future__ import annotations

import argparse
import inspect
import re
import shutil
import typing
from dataclasses import MISSING
from functools import partial
from typing import Any, Literal

from hybridvit.cli.arguments import usage
from hybridvit.cli.flags import ROWS, element, values_or_defaults
from hybridvit.config import Config, alternatives, kinds, to_dict
from hybridvit.recipe import HeadFinetuneConfig, Recipe
from hybridvit.studies.learning_curve.study import Study

COLUMN = 34  # where what a field means begins
WORDS = {int: "INT", float: "FLOAT", str: "TEXT", bool: "", type(None): "None"}
CLASSES: dict[str, type[Config]] = {"train": Recipe, "study": Study, "finetune-head": HeadFinetuneConfig}
NOTES = """\
--X.kind VALUE switches to another kind and keeps the values of the fields that both kinds have. --model NAME takes a
model of `hybridvit models`. --no-FIELD turns a switch off. None is written as it is."""


def print_command_help(name: str) -> None:
    """Prints the fields that a command changes, whatever its recipe or run."""
    print_help(CLASSES[name], usage(name))


def print_help(config: Config | type[Config], program: str) -> None:
    """Prints every field of a configuration, or of a class of them: its flag, type, meaning and value or default."""
    width = min(shutil.get_terminal_size((110, 24)).columns, 120)
    formatter = partial(argparse.HelpFormatter, max_help_position=COLUMN, width=width)
    parser = argparse.ArgumentParser(usage=program, epilog=NOTES, add_help=False, formatter_class=formatter)
    _add_section(parser, "", config if isinstance(config, type) else type(config), config, {})
    parser.print_help()


def _add_section(
    parser: argparse.ArgumentParser, path: str, annotation: Any, value: Any, listed: dict[type, str]
) -> None:
    """A section for the configuration at a path, then one for each within it; siblings of a class are listed once."""
    options = kinds(annotation)
    shown = next(iter(options.values())) if value is None or value is MISSING else value
    cls = shown if isinstance(shown, type) else type(shown)
    about = inspect.cleandoc(cls.__doc__ or "").partition("\n")[0] + (" [now None]" if value is None else "")
    section = parser.add_argument_group(path or cls.__name__, about)
    if len(options) > 1:
        section.add_argument(f"--{path}.kind", action="store_true", help=f"{', '.join(options)} [now {shown.kind}]")
    if cls in listed:
        section.description = f"{about} (its fields are those of {listed[cls]})"
        return
    listed[cls] = path
    types, meanings, inner = typing.get_type_hints(cls, include_extras=True), field_docs(cls), []
    for name, held in values_or_defaults(shown).items():
        kind, flag = types[name], f"{path}.{name}".lstrip(".")
        if name in ROWS or (typing.get_origin(kind) is Literal and len(typing.get_args(kind)) == 1):
            continue
        if kinds(kind):
            inner.append((flag, kind, held))
        elif kinds(element(kind)):
            entries = {"NAME": MISSING} if held is MISSING else held
            inner += [(f"{flag}.{key}", element(kind), entry) for key, entry in entries.items()]
        else:
            given = "required" if held is MISSING else f"now {_shown(held)}"
            words = _type_words(kind)
            settings: Any = {"metavar": words} if words else {"action": "store_true"}
            text = f"{meanings.get(name, '')} [{given}]".lstrip()
            section.add_argument(f"--{flag}", help=text.replace("%", "%%"), **settings)
    siblings: dict[type, str] = {}
    for flag, kind, held in inner:
        _add_section(parser, flag, kind, held, siblings)


def field_docs(cls: type) -> dict[str, str]:
    """What each field means, from the "Attributes" of the class's docstring and of its bases'."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        _, _, attributes = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        block = re.split(r"\n(?=\S)", attributes)[0]
        for match in re.finditer(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", block, re.MULTILINE):
            docs[match[1]] = re.sub(r":\w+:`~?([^`]+)`|``([^`]+)``", r"\1\2", " ".join(match[2].split()))
    return docs


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
