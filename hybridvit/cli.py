"""The command line: hybridvit train | study | evaluate | predict | models | bench."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

USAGE = """\
hybridvit: vision transformers, hybrids and CNNs for few images, and what their built-in assumptions are worth

  hybridvit study RECIPE [--out FOLDER] [--FIELD VALUE ...]    a grid of runs -> report.html
  hybridvit train RECIPE [--out FOLDER] [--FIELD VALUE ...]    one run -> run folder
  hybridvit evaluate RUN [--split test|validation] [--checkpoint NAME] [--json]
  hybridvit predict RUN IMAGE [IMAGE ...] [--checkpoint NAME] [--json]
  hybridvit models [PATTERN] [--image-size PX] [--json]        the named models: size, cost, sockets, paper
  hybridvit models --diff NAME NAME [--json]                   the fields in which two models differ
  hybridvit bench [--quick] [--json]                           speed and memory against peers

RECIPE is a Python file with a recipe() or study() function, such as recipes/digits.py, or the recipe.yaml or
study.yaml of an earlier run. Flags change its fields: hybridvit train RECIPE --help lists them.
The same command again goes on where it stopped. Exit status: 0 done, 1 the run failed, 2 the request was wrong.
"""

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return DONE if words else WRONG
    if words[0] == "--version":
        from hybridvit import __version__

        print(f"hybridvit {__version__}")
        return DONE
    command = COMMANDS.get(words[0])
    if command is None:
        from difflib import get_close_matches

        close = get_close_matches(words[0], COMMANDS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(COMMANDS)}"
        return _say(f"unknown command {words[0]!r}: {hint}", WRONG)
    try:
        return command(words[1:])
    except ValueError as error:
        return _say(str(error), WRONG)
    except RuntimeError as error:
        if type(error).__name__ not in ("NonFiniteLoss", "NoLearningRate"):
            raise
        return _say(str(error), FAILED)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on from what is done", INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = None  # type: ignore[assignment]  # whoever read the output has enough
        return DONE


def train(words: list[str]) -> int:
    """hybridvit train RECIPE [--out FOLDER] [--FIELD VALUE ...]"""
    parser = Parser(prog="hybridvit train", add_help=False)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path)
    known, flags = _parse(parser, words)

    from hybridvit.build.runs import Run
    from hybridvit.config import to_yaml
    from hybridvit.request import apply_flags, read_recipe
    from hybridvit.studies.progress import clock_text
    from hybridvit.training.run_folder import RunFolder

    recipe = apply_flags(read_recipe(known.recipe, "recipe"), flags, f"hybridvit train {known.recipe}")
    out = known.out or Path("runs") / recipe.name
    folder = RunFolder(out, to_yaml(recipe))
    if folder.result is not None:
        print(f"{out} is done already:")
        _print_result(folder.result)
        return DONE
    run = Run(recipe, folder, _command("train", words))
    print(
        f"{recipe.name}: {run.params:,} parameters, {len(run.splits.train):,} training, {len(run.splits.validation):,} "
        f"validation and {len(run.splits.test):,} test images of {run.splits.name}, on {run.accelerator.device}",
        file=sys.stderr,
    )
    with _training_bar(recipe.train.steps, recipe.train.log_every) as on_step:
        result = run.fit(on_step)
    _print_result(result)
    print(f"{clock_text(result['seconds']['total'])} on {result['device']}; everything is in {out}")
    return DONE


def study(words: list[str]) -> int:
    """hybridvit study RECIPE [--out FOLDER] [--FIELD VALUE ...]"""
    parser = Parser(prog="hybridvit study", add_help=False)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path)
    known, flags = _parse(parser, words)

    from hybridvit.build.runs import Run
    from hybridvit.request import apply_flags, read_recipe
    from hybridvit.studies.progress import ProgressDisplay
    from hybridvit.studies.report import write_report
    from hybridvit.studies.run import StudyFolder, conduct

    plan = apply_flags(read_recipe(known.recipe, "study"), flags, f"hybridvit study {known.recipe}")
    out = known.out or Path("runs") / plan.base.name
    folder = StudyFolder(out, plan)
    print(plan.title, file=sys.stderr)
    for model in plan.models:  # builds every model on the largest size, so that what does not fit is known now
        params = Run(plan.run(model, plan.train_sizes[-1], 0, plan.learning_rates[0], select=False)).params
        print(f"  {model:<10} {params:>10,} parameters", file=sys.stderr)
    with ProgressDisplay() as display:
        outcome = conduct(plan, folder, display)
    page = write_report(plan, folder, outcome, _command("study", words))
    if page is None:
        return _say(f"no seed is complete: {len(outcome.failed)} runs failed, see {out / 'cells'}", FAILED)
    _print_study(out)
    print(f"report: {page}")
    if outcome.failed:
        return _say(
            f"{len(outcome.failed)} runs failed, see {out / 'cells'}; the same command tries them again", FAILED
        )
    return DONE


def evaluate(words: list[str]) -> int:
    """hybridvit evaluate RUN"""
    parser = Parser(prog="hybridvit evaluate")
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--checkpoint")
    parser.add_argument("--json", action="store_true")
    known = parser.parse_args(words)

    from hybridvit.build.runs import Trained

    trained = Trained(known.run, known.checkpoint)
    scores, images = trained.evaluate(known.split)
    if known.json:
        print(
            json.dumps(
                {"run": str(known.run), "checkpoint": trained.checkpoint.name, known.split: scores, "images": images}
            )
        )
    else:
        print(f"{known.run}, checkpoint {trained.checkpoint.name}, {images:,} {known.split} images: {_scores(scores)}")
    return DONE


def predict(words: list[str]) -> int:
    """hybridvit predict RUN IMAGE [IMAGE ...]"""
    parser = Parser(prog="hybridvit predict")
    parser.add_argument("run", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--checkpoint")
    parser.add_argument("--json", action="store_true")
    known = parser.parse_args(words)

    from hybridvit.build.runs import Trained

    rows = Trained(known.run, known.checkpoint).predict(known.images)
    if known.json:
        print(json.dumps(rows))
        return DONE
    width = max(len(row["image"]) for row in rows)
    for row in rows:
        print(f"{row['image']:<{width}}  {row['label']['class']}  {100 * row['label']['probability']:.1f} %")
    return DONE


def models(words: list[str]) -> int:
    """hybridvit models [PATTERN]"""
    parser = Parser(prog="hybridvit models")
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--image-size", type=int, nargs="+", help="side, or height and width, in pixels")
    parser.add_argument("--diff", nargs=2, metavar="NAME", help="the fields in which two models differ")
    parser.add_argument("--json", action="store_true")
    known = parser.parse_args(words)

    from hybridvit.backbones.variants import VARIANTS
    from hybridvit.build.models import list_models
    from hybridvit.build.summary import difference, format_difference, summaries, table
    from hybridvit.config import nearest

    if known.diff:
        if known.pattern != "*" or known.image_size:
            raise ValueError("--diff takes two names and nothing else")
        fields = difference(*known.diff)
        if known.json:
            first, second = known.diff
            print(json.dumps({"diff": [{"field": name, first: a, second: b} for name, a, b in fields]}))
        else:
            print(format_difference(known.diff[0], known.diff[1], fields))
        return DONE
    size = None
    if known.image_size:
        if len(known.image_size) > 2:
            raise ValueError(f"--image-size is one side or height and width, given {known.image_size}")
        size = (known.image_size[0], known.image_size[-1])
    names = [known.pattern] if known.pattern.startswith("timm/") else list_models(known.pattern)
    if not names:
        raise ValueError(f"no model matches {known.pattern!r}: {nearest(known.pattern.strip('*'), VARIANTS)}")
    if known.json:
        print(json.dumps({"models": list(summaries(names, size))}))
        return DONE
    for line in table(names, size):
        print(line, flush=True)
    return DONE


def bench(words: list[str]) -> int:
    """hybridvit bench"""
    parser = Parser(prog="hybridvit bench")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller measurements")
    parser.add_argument("--json", action="store_true")
    known = parser.parse_args(words)

    from hybridvit.bench import format_row, format_table, run_bench

    def tell(row: dict[str, Any]) -> None:
        print(format_row(row), file=sys.stderr, flush=True)

    result = run_bench(quick=known.quick, on_row=tell if sys.stderr.isatty() else None)
    print(json.dumps(result) if known.json else format_table(result))
    return DONE


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "train": train,
    "study": study,
    "evaluate": evaluate,
    "predict": predict,
    "models": models,
    "bench": bench,
}


def _parse(parser: Parser, words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Own arguments, and the flags of the recipe's fields; the recipe comes first."""
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="")
        raise SystemExit(DONE if words else WRONG)
    if words[0].startswith("-"):
        raise ValueError(f"the recipe comes first, as in: {parser.prog} recipes/digits.py {words[0]}")
    parser.allow_abbrev = False
    return parser.parse_known_args(words)


def _training_bar(steps: int, every: int) -> Any:
    """A progress bar on a terminal, a line at every tenth elsewhere; gives the function to call at each step."""
    import contextlib

    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    @contextlib.contextmanager
    def bar() -> Any:
        console = Console(stderr=True)
        if not console.is_terminal:

            def line(done: int, loss: float) -> None:
                if 10 * done // steps > 10 * (done - 1) // steps:
                    print(f"step {done} of {steps}, loss {loss:.4f}", file=sys.stderr)

            yield line
            return
        columns = (
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, expand=True) as progress:
            task = progress.add_task("training", total=steps, loss="–")

            def update(done: int, loss: float) -> None:
                progress.update(task, completed=done, loss="–" if loss != loss else f"{loss:.4f}")

            yield update

    return bar()


def _print_result(result: dict[str, Any]) -> None:
    if result["validation"] is not None:
        chosen = f"{result['validation_images']} images, chosen at step {result['selected_step']}"
        print(f"validation ({chosen}): {_scores(result['validation'])}")
    if result["test"] is not None:
        print(f"test ({result['test_images']} images): {_scores(result['test'])}")


def _print_study(out: Path) -> None:
    summary = json.loads((out / "study.json").read_text(encoding="utf-8"))
    sizes = " ".join(f"{size:>7,}" for size in summary["train_images"])
    print(f"\n{'test accuracy in %, images:':<27} {sizes}   worth, in images of the {summary['reference']}")
    for model, accuracy in summary["accuracy"].items():
        means = " ".join(f"{100 * sum(row) / len(row):7.1f}" for row in accuracy)
        worth, text = summary["equivalence"].get(model), ""
        if worth:
            low, high = worth["interval"]
            text = f"{worth['factor']:.1f}×"
            if worth["bound_only"]:
                text = f"{'at least' if worth['factor'] > 1 else 'at most'} {text}"
            elif low is not None:
                text += f" ({low:.1f} to {high:.1f})"
        print(f"  {model:<25} {means}   {text}".rstrip())
    print()


def _scores(scores: dict[str, dict[str, float]]) -> str:
    return ", ".join(
        f"{metric} {100 * value:.2f} %" for metrics in scores.values() for metric, value in metrics.items()
    )


def _command(name: str, words: list[str]) -> str:
    return shlex.join(["hybridvit", name, *words])


def _say(message: str, status: int) -> int:
    print(f"hybridvit: {' '.join(message.split())}", file=sys.stderr)
    return status


def entry() -> NoReturn:
    """The installed command."""
    sys.exit(main())


if __name__ == "__main__":
    sys.exit(main())
