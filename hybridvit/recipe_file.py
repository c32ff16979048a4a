"""Reads recipes and studies from files: Python with a ``recipe()`` or ``study()`` function, or YAML."""

from __future__ import annotations

import runpy
import traceback
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import yaml

from hybridvit.config import from_yaml, nearest
from hybridvit.recipe import Recipe
from hybridvit.studies.kinds import STUDIES

KINDS: dict[str, tuple[type, ...]] = {"recipe": (Recipe,), "study": STUDIES}
COMMANDS = {"recipe": "train", "study": "study"}


def read_recipe(path: str | Path, kind: Literal["recipe", "study"] = "recipe") -> Any:
    """The Recipe, or the study of any kind, that a file gives.

    Args:
        path: a Python file with a function of the name ``kind``, or the YAML of an earlier run.
        kind: "recipe" or "study".

    Raises:
        ValueError: there is no such file, it fails, or it gives something else.
    """
    path = Path(path)
    if not path.is_file():
        beside = [str(other) for other in sorted(path.parent.glob("*")) if other.suffix in (".py", ".yaml")]
        raise ValueError(f"there is no recipe {path}" + (f": {nearest(str(path), beside)}" if beside else ""))
    if path.suffix in (".yaml", ".yml"):
        return _from_yaml(path, kind)
    if path.suffix != ".py":
        raise ValueError(f"a recipe is a .py or .yaml file, given {path}")
    try:
        names = runpy.run_path(str(path), run_name=path.stem)
    except Exception as error:  # whatever the user's own code raises
        raise ValueError(f"{path}{_line(error, path)}: {type(error).__name__}: {error}") from error
    if kind not in names:
        for other, command in COMMANDS.items():
            if other in names:
                raise ValueError(f"{path} has no {kind}() function, but a {other}(): hybridvit {command} {path}")
        raise ValueError(f"{path} has no {kind}() function")
    try:
        config = names[kind]()
    except Exception as error:  # whatever the user's own code raises
        raise ValueError(f"{path}{_line(error, path)}: {error}") from error
    if not isinstance(config, KINDS[kind]):
        expected = " or ".join(cls.__name__ for cls in KINDS[kind])
        raise ValueError(f"{path}: {kind}() should give a {expected}, gave {type(config).__name__}")
    return config


def _from_yaml(path: Path, kind: str) -> Any:
    """What a YAML file holds; of the kinds of studies, the one that knows the most of its fields."""
    text = path.read_text(encoding="utf-8")
    try:
        data = yaml.safe_load(text)
        given = data.keys() if isinstance(data, dict) else set()
        cls = min(KINDS[kind], key=lambda one: len(given - {field.name for field in fields(one)}))
        return from_yaml(cls, text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error


def _line(error: BaseException, path: Path) -> str:
    """The line of the user's file that an error came from."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f", line {lines[-1]}" if lines else ""
