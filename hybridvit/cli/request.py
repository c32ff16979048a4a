"""What a user asked for: a recipe file and flags, read strictly."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import traceback
import typing
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from hybridvit.config import Config, field_paths, from_yaml, nearest
from hybridvit.recipe import Ablation, HeadFinetuneConfig, LaunchConfig, MultiTaskStudy, Recipe, Study
from hybridvit.tasks.kinds import TaskConfig

C = TypeVar("C", Recipe, Study, MultiTaskStudy, Ablation, HeadFinetuneConfig)
T = TypeVar("T")
KINDS: dict[str, tuple[type, ...]] = {"recipe": (Recipe,), "study": (Study, MultiTaskStudy, Ablation)}
TELLING: dict[str, type] = {"trunks": MultiTaskStudy, "without": Ablation}  # fields that only this kind of study has
COMMANDS = {"recipe": "train", "study": "study"}


def read_recipe(path: Path, kind: Literal["recipe", "study"]) -> Any:
    """A Recipe or one of the studies from a Python file with a ``recipe()`` or ``study()`` function, or from YAML.

    Raises:
        ValueError: the file is not there, is neither, or does not give what it should.
    """
    if not path.is_file():
        beside = [str(other) for other in sorted(path.parent.glob("*")) if other.suffix in (".py", ".yaml")]
        raise ValueError(f"there is no recipe {path}" + (f": {nearest(str(path), beside)}" if beside else ""))
    if path.suffix in (".yaml", ".yml"):
        text = path.read_text(encoding="utf-8")
        told = [cls for name, cls in TELLING.items() if kind == "study" and f"\n{name}:" in text]
        try:
            return from_yaml((told or KINDS[kind])[0], text)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    if path.suffix != ".py":
        raise ValueError(f"a recipe is a .py or .yaml file, given {path}")
    namespace = _execute(path)
    function = getattr(namespace, kind, None)
    if function is None:
        for other, command in COMMANDS.items():
            if hasattr(namespace, other):
                raise ValueError(f"{path} has no {kind}() function, but a {other}(): hybridvit {command} {path}")
        raise ValueError(f"{path} has no {kind}() function")
    try:
        made = function()
    except Exception as error:  # whatever the user's own code raises
        raise ValueError(f"{path}{_line(error, path)}: {error}") from error
    if not isinstance(made, KINDS[kind]):
        wanted = " or ".join(one.__name__ for one in KINDS[kind])
        raise ValueError(f"{path}: {kind}() should give a {wanted}, gave {type(made).__name__}")
    return made


def apply_flags(config: C, flags: Sequence[str], program: str) -> C:
    """The configuration with fields changed by flags such as ``--optim.lr 1e-3``.

    Of an ablation, flags change the base, and every row along with it but for what sets the row apart.

    Raises:
        ValueError: an unknown field (with the nearest name), or a value that does not fit it.
    """
    if isinstance(config, Ablation):
        ablation: C = _all_rows(config, flags, program)
        return ablation
    return _parsed(config, flags, program)


class _AblationFlags(Config):
    """An ablation, as flags see it: what they change in the base they change in every row that has the same there.

    Attributes:
        title: the question, as the report asks it.
        base: the recipe with everything; its seed is that of the first repetition.
        seeds: number of paired repetitions.
        launch: where the runs take place.
    """

    title: str
    base: Recipe
    seeds: int
    launch: LaunchConfig


def _all_rows(config: Ablation, flags: Sequence[str], program: str) -> Any:
    """An ablation whose base is as flags change it, and every row along with it."""
    said = _parsed(
        _AblationFlags(title=config.title, base=config.base, seeds=config.seeds, launch=config.launch), flags, program
    )
    without = {name: _carried(row, config.base, said.base) for name, row in config.without.items()}
    baseline = _carried(config.baseline, config.base, said.base)
    return Ablation(
        title=said.title, base=said.base, without=without, baseline=baseline, seeds=said.seeds, launch=said.launch
    )


def _carried(row: Any, before: Any, after: Any) -> Any:
    """The row with every change from ``before`` to ``after`` that is not in a field where it has its own value."""
    if row == before:
        return after
    if is_dataclass(row) and not isinstance(row, type) and type(row) is type(before) is type(after):
        names = [part.name for part in fields(row)]
        return replace(row, **{n: _carried(getattr(row, n), getattr(before, n), getattr(after, n)) for n in names})
    if isinstance(row, dict) and before.keys() == after.keys():
        return {key: _carried(row[key], before[key], after[key]) if key in before else row[key] for key in row}
    return row


def _parsed(config: T, flags: Sequence[str], program: str) -> T:
    """The configuration as flags change it."""
    import tyro

    wants_help = "-h" in flags or "--help" in flags
    if not wants_help:
        _check_names(config, flags)
    caught = io.StringIO()
    try:
        with contextlib.nullcontext() if wants_help else contextlib.redirect_stderr(caught):
            return tyro.cli(
                type(config),
                default=config,
                args=list(flags),
                prog=program,
                config=(tyro.conf.AvoidSubcommands,),
            )
    except SystemExit as stop:
        if wants_help:
            raise
        raise ValueError(_message(caught.getvalue())) from stop


def head_config(name: str, kind: str | None, held: TaskConfig | None, heads: Sequence[str]) -> TaskConfig:
    """What a head to be tuned is: as the run has it, or of another kind, whose target is the head's own name.

    Raises:
        ValueError: an unknown kind, or a new head without one.
    """
    configs: Any = typing.get_args(typing.get_args(TaskConfig)[0])
    kinds = {config.kind: config for config in configs if config.in_data}  # a teacher looks at images, not at features
    if kind is None:
        if held is None:
            hint = nearest(name, heads)
            raise ValueError(f"the run has no head {name!r}: {hint} (a new one needs --kind {'|'.join(kinds)})")
        return held
    if kind not in kinds:
        raise ValueError(f"unknown kind {kind!r}: {nearest(kind, kinds)}")
    if held is not None and held.kind == kind:
        return held
    config: TaskConfig = kinds[kind](target=held.target if held is not None else name)
    return config


def _check_names(config: Any, flags: Sequence[str]) -> None:
    names = field_paths(config)
    for flag in flags:
        if flag.startswith("--"):
            given = flag[2:].split("=", 1)[0]
            name = given.replace("-", "_")
            head, _, last = name.rpartition(".")
            positive = f"{head}.{last.removeprefix('no_')}" if head else last.removeprefix("no_")
            if name not in names and positive not in names:
                raise ValueError(f"unknown field {given}: {_nearest_path(name, names)}")
        elif flag.startswith("-") and not flag.lstrip("-")[:1].isdigit() and flag[1:2] != ".":
            raise ValueError(f"unknown flag {flag}: fields are named in full, as in --{names[0]}")


def _nearest_path(name: str, names: list[str]) -> str:
    """The nearest field: by its own name wherever it stands, or by its whole path."""
    last = name.rsplit(".", 1)[-1]
    exact = [path for path in names if path.rsplit(".", 1)[-1] == last]
    if exact:
        return f"did you mean {' or '.join(exact[:3])}?"
    return (
        nearest(name, names) if len(names) < 12 or "did you mean" in nearest(name, names) else "--help lists the fields"
    )


def _message(box: str) -> str:
    """The first paragraph of tyro's framed error as one line; the frame is of box characters, or plain ASCII."""
    words: list[str] = []
    for line in box.splitlines()[1:]:
        text = line.strip(" │|")
        if text and not set(text) <= set("─╰╯-"):
            words += text.split()
        elif words:
            break
    return " ".join(words).replace("Error parsing ", "")


def _execute(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's own code raises
        raise ValueError(f"{path}{_line(error, path)}: {type(error).__name__}: {error}") from error
    return module


def _line(error: BaseException, path: Path) -> str:
    """The line of the user's file that an error came from."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    return f", line {lines[-1]}" if lines else ""
