"""hybridvit train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hybridvit.cli.console import DONE, HELP, Parser, command_line, parse_first, scores_text
from hybridvit.cli.field_help import recipe_help
from hybridvit.cli.progress import training_progress


def train(words: list[str]) -> int:
    """hybridvit train RECIPE [--out FOLDER] [--FIELD VALUE ...]"""
    if words and words[0] in HELP:
        return recipe_help()
    parser = Parser(prog="hybridvit train", add_help=False)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path)
    options, flags = parse_first(parser, words, "recipe")

    from hybridvit.cli.flags import apply_flags
    from hybridvit.config import to_yaml
    from hybridvit.recipe_file import read_recipe
    from hybridvit.runs.run import Run
    from hybridvit.studies.progress import clock_text
    from hybridvit.training.run_folder import RunFolder

    recipe = apply_flags(read_recipe(options.recipe, "recipe"), flags, f"hybridvit train {options.recipe}")
    out = options.out or Path("runs") / recipe.name
    folder = RunFolder(out, to_yaml(recipe))
    if folder.result is not None:
        print(f"{out} is done already:")
        print_result(folder.result)
        return DONE
    run = Run(recipe, folder, command_line("train", words))
    print(
        f"{recipe.name}: {run.params:,} parameters, {len(run.splits.train):,} training, {len(run.splits.validation):,} "
        f"validation and {len(run.splits.test):,} test images of {run.splits.name}, on {run.accelerator.device}",
        file=sys.stderr,
    )
    with training_progress(sum(run.stages)) as on_step:
        result = run.fit(on_step)
    print_result(result)
    if len(run.tasks) > 1:
        from hybridvit.runs.loaded_run import LoadedRun
        from hybridvit.studies.report.run_report import write_run_report

        print(f"report: {write_run_report(out, LoadedRun(out), run.splits)}")
    print(f"{clock_text(result['seconds']['total'])} on {result['device']}; everything is in {out}")
    return DONE


def print_result(result: dict[str, Any]) -> None:
    """The metrics of a finished run."""
    if result["validation"] is not None:
        chosen = f"{result['validation_images']} images, chosen at step {result['selected_step']}"
        print(f"validation ({chosen}): {scores_text(result['validation'])}")
    if result["test"] is not None:
        print(f"test ({result['test_images']} images): {scores_text(result['test'])}")
    if result.get("test_tta") is not None:
        print(f"test with test-time augmentation (horizontal flip): {scores_text(result['test_tta'])}")
