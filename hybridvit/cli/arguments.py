"""The arguments of every command. Nothing heavy is imported here, so that --help costs nothing."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

HELP = ("-h", "--help")
ABOUT = "vision transformers, hybrids and CNNs for few images, several tasks, and studies of inductive bias"
NOTES = """\
RECIPE is a Python file with a recipe() or study() function, such as recipes/digits.py, or the recipe.yaml or
study.yaml of an earlier run. Flags change its fields; hybridvit train RECIPE --help lists them.
A command that was interrupted resumes when it is given again.
Exit status: 0 done, 1 the run failed, 2 the request was wrong, 130 interrupted."""

Argument = tuple[str, dict[str, Any]]  # its name and the options of argparse


def _argument(name: str, **options: Any) -> Argument:
    return name, options


RECIPE = _argument("recipe", type=Path, metavar="RECIPE")
RUN = _argument("run", type=Path, metavar="RUN")
OUT = _argument("--out", type=Path, metavar="FOLDER")
NEW_FOLDER = _argument("--out", type=Path, metavar="FOLDER", required=True)
CHECKPOINT = _argument("--checkpoint", metavar="NAME")
JSON = _argument("--json", action="store_true", help="print one JSON object and nothing else")
SPLIT = _argument("--split", choices=("test", "validation"), default="test")
IMAGES = _argument("images", nargs="+", metavar="IMAGE")
PICTURES = _argument("pictures", nargs="*", type=Path, metavar="IMAGE")
COUNT = _argument("--images", type=int, default=64, metavar="N", help="test images, where no pictures are named")
TASK = _argument("--task", metavar="NAME")
KIND = _argument("--kind", metavar="KIND")
REMOVE = _argument("--remove", metavar="NAME")
ACTION = _argument("action", choices=("check",), metavar="check")
MANIFEST = _argument("manifest", type=Path, metavar="MANIFEST")
PATTERN = _argument("pattern", nargs="?", default="*", metavar="PATTERN")
IMAGE_SIZE = _argument("--image-size", type=int, nargs="+", metavar="PX", help="side, or height and width")
DIFF = _argument("--diff", nargs=2, metavar="NAME", help="the fields in which two models differ")
QUICK = _argument("--quick", action="store_true", help="fewer and smaller measurements")


class Command(NamedTuple):
    """A command of ``hybridvit``.

    Attributes:
        module: of :mod:`hybridvit.cli`; it has a function of the command's name.
        about: what the command does.
        arguments: its own arguments.
        fields: whether flags of configuration fields may follow them.
    """

    module: str
    about: str
    arguments: tuple[Argument, ...]
    fields: bool = False


COMMANDS = {
    "train": Command("train", "trains one model and writes a run folder", (RECIPE, OUT), fields=True),
    "study": Command("train", "runs a grid of trainings and writes report.html", (RECIPE, OUT), fields=True),
    "evaluate": Command("loaded", "measures a run on its test or validation images", (RUN, SPLIT, CHECKPOINT, JSON)),
    "predict": Command(
        "loaded",
        "predicts images, or with VIEW=IMAGE ... one sample of several cameras; FOLDER takes predicted masks, as PNG",
        (RUN, IMAGES, OUT, CHECKPOINT, JSON),
    ),
    "diagnose": Command("loaded", "measures what attention looks at", (RUN, PICTURES, COUNT, CHECKPOINT, JSON)),
    "export": Command("loaded", "copies what prediction needs: weights, settings", (RUN, NEW_FOLDER, CHECKPOINT)),
    "report": Command("loaded", "writes a page on a run with several heads", (RUN,)),
    "cache-features": Command("heads", "stores the backbone's features of every image", (RUN, CHECKPOINT)),
    "finetune-head": Command(
        "heads",
        "trains one head on these features; a new name adds a head",
        (RUN, TASK, KIND, CHECKPOINT),
        fields=True,
    ),
    "heads": Command("heads", "lists the heads of a run", (RUN, REMOVE, JSON)),
    "data": Command("data", "describes a table of images and labels, lists errors", (ACTION, MANIFEST, JSON)),
    "models": Command(
        "models",
        "lists named models: size, cost, sockets, paper; or the fields in which two of them differ",
        (PATTERN, IMAGE_SIZE, DIFF, JSON),
    ),
    "bench": Command("models", "measures speed and memory against other libraries", (QUICK, JSON)),
}
RENAMED = {"features": "cache-features", "tune": "finetune-head"}


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def parser_of(name: str) -> Parser:
    """The parser of a command's own arguments."""
    command = COMMANDS[name]
    own = not command.fields  # else flags are those of fields, and --help lists them
    return _parser(f"hybridvit {name}", command.arguments, description=command.about, add_help=own, allow_abbrev=own)


def _parser(program: str, arguments: Sequence[Argument], **settings: Any) -> Parser:
    parser = Parser(prog=program, **settings)
    for name, options in arguments:
        parser.add_argument(name, **options)
    return parser


def usage(name: str) -> str:
    """A command and its arguments on one line, flags last."""
    command = COMMANDS[name]
    flags = [argument for argument in command.arguments if argument[0].startswith("-")]
    others = [argument for argument in command.arguments if argument not in flags]
    words = _parser(f"hybridvit {name}", others, add_help=False).format_usage().split()[1:]
    words += _parser("", flags, add_help=False).format_usage().split()[1:]
    return " ".join(words + ["[--FIELD VALUE ...]"] * command.fields)


def overview() -> str:
    """What ``hybridvit --help`` prints: all commands."""
    commands = "\n".join(f"  {usage(name)}\n      {command.about}" for name, command in COMMANDS.items())
    return f"hybridvit: {ABOUT}\n\n{commands}\n\n{NOTES}\n"


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of the command that the words give.

    Returns:
        The command's own arguments by name; ``flags``, the words of configuration fields; and ``command_line``, the
        command as it was typed, for the result file.

    Raises:
        ValueError: there is no such command, or its arguments are wrong.
        SystemExit: the words ask for the help of a command, which is printed.
    """
    name, *rest = words
    if name not in COMMANDS:
        from hybridvit.config import nearest

        hint = f"it is now called {RENAMED[name]}" if name in RENAMED else nearest(name, COMMANDS)
        raise ValueError(f"unknown command {name!r}: {hint}")
    parser = parser_of(name)
    if COMMANDS[name].fields:
        first = COMMANDS[name].arguments[0][0]
        if not rest:
            raise ValueError(f"the {first} is missing, as in: {parser.prog} {first.upper()}")
        if rest[0] in HELP:
            from hybridvit.cli.field_help import print_command_help

            print_command_help(name)
            raise SystemExit(0)
        if rest[0].startswith("-"):
            raise ValueError(f"the {first} comes first, as in: {parser.prog} {first.upper()} {rest[0]}")
        options, flags = parser.parse_known_args(rest)
        options.flags = flags
    else:
        options = parser.parse_args(rest)
    options.command_line = shlex.join(["hybridvit", *words])
    return options
