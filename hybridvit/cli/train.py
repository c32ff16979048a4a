"""hybridvit train and study: what a recipe file starts."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from hybridvit.cli.console import DONE, FAILED, print_result, say
from hybridvit.cli.flags import apply_flags
from hybridvit.cli.progress import training_progress
from hybridvit.config import to_yaml
from hybridvit.recipe_file import read_recipe
from hybridvit.runs.run import Run
from hybridvit.studies.progress import clock_text
from hybridvit.training.run_folder import RunFolder


def train(options: Namespace) -> int:
    """hybridvit train RECIPE [--out FOLDER] [--FIELD VALUE ...]"""
    recipe = apply_flags(read_recipe(options.recipe, "recipe"), options.flags, f"hybridvit train {options.recipe}")
    out = options.out or Path("runs") / recipe.name
    folder = RunFolder(out, to_yaml(recipe))
    if folder.result is not None:
        print(f"{out} is done already:")
        print_result(folder.result)
        return DONE
    run = Run(recipe, folder, options.command_line)
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


def study(options: Namespace) -> int:
    """hybridvit study RECIPE [--out FOLDER] [--FIELD VALUE ...]"""
    from hybridvit.studies.conduct import run_study

    plan = apply_flags(read_recipe(options.recipe, "study"), options.flags, f"hybridvit study {options.recipe}")
    out = options.out or Path("runs") / plan.base.name
    outcome = run_study(plan, out, command=options.command_line)
    failed = f"{len(outcome.failed)} runs failed, see {out / 'cells'}"
    left = f"the time is up, and {outcome.left} runs are left; the same command resumes"
    if outcome.report is None:
        reasons = [failed] * bool(outcome.failed) + [left] * bool(outcome.left)
        return say(f"{plan.incomplete}: {'; '.join(reasons)}", FAILED)
    print("\n".join(outcome.report.lines))
    print(f"report: {out / 'report.html'}")
    if outcome.failed:
        return say(f"{failed}; the same command tries them again", FAILED)
    return say(left, FAILED) if outcome.left else DONE
