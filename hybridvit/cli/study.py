"""hybridvit study"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hybridvit.cli.console import DONE, FAILED, HELP, Parser, command_line, parse_first, say
from hybridvit.cli.field_help import study_help

if TYPE_CHECKING:
    from hybridvit.recipe import Ablation, MultiTaskStudy
    from hybridvit.studies.ablation.run import AblationOutcome
    from hybridvit.studies.conduct import Outcome
    from hybridvit.studies.multitask.run import TaskOutcome

    AnyOutcome = Outcome | TaskOutcome | AblationOutcome


def study(words: list[str]) -> int:
    """hybridvit study RECIPE [--out FOLDER] [--FIELD VALUE ...]"""
    if words and words[0] in HELP:
        return study_help()
    parser = Parser(prog="hybridvit study", add_help=False)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path)
    known, flags = parse_first(parser, words, "recipe")

    from hybridvit.cli.flags import apply_flags
    from hybridvit.recipe import Ablation, MultiTaskStudy
    from hybridvit.recipe_file import read_recipe
    from hybridvit.runs.run import Run
    from hybridvit.studies.conduct import StudyFolder, conduct
    from hybridvit.studies.learning_curve.report import write_report
    from hybridvit.studies.progress import ProgressDisplay

    plan = apply_flags(read_recipe(known.recipe, "study"), flags, f"hybridvit study {known.recipe}")
    out = known.out or Path("runs") / plan.base.name
    if isinstance(plan, MultiTaskStudy):
        return _multitask(plan, out, command_line("study", words))
    if isinstance(plan, Ablation):
        return _ablation(plan, out, command_line("study", words))
    folder = StudyFolder(out, plan)
    print(plan.title, file=sys.stderr)
    for model in plan.models:  # builds every model on the largest size, so that what does not fit is known now
        params = Run(plan.run(model, plan.train_sizes[-1], 0, plan.learning_rates[0], select=False)).params
        print(f"  {model:<10} {params:>10,} parameters", file=sys.stderr)
    with ProgressDisplay() as display:
        outcome = conduct(plan, folder, display)
    page = write_report(plan, folder, outcome, command_line("study", words))
    if page is None:
        return _nothing("no seed is complete", outcome, out)
    _print_study(out)
    print(f"report: {page}")
    return _ended(outcome, out)


def _multitask(plan: MultiTaskStudy, out: Path, command: str) -> int:
    """All tasks on one trunk, against every task alone."""
    from hybridvit.runs.run import Run
    from hybridvit.studies.conduct import StudyFolder
    from hybridvit.studies.multitask.report import write_task_report
    from hybridvit.studies.multitask.run import conduct_tasks
    from hybridvit.studies.multitask.summary import delta_lines
    from hybridvit.studies.progress import ProgressDisplay

    folder = StudyFolder(out, plan)
    print(plan.title, file=sys.stderr)
    balance = next(iter(plan.balances))
    for trunk in plan.trunks:  # builds every trunk with all heads, so that what does not fit is known now
        run = Run(plan.joint(trunk, balance, 0))
        print(f"  {trunk:<10} {run.params:>10,} parameters, {len(run.tasks)} heads", file=sys.stderr)
    with ProgressDisplay() as display:
        outcome = conduct_tasks(plan, folder, display)
    page = write_task_report(plan, folder, outcome, command)
    if page is None:
        return _nothing("no run is complete", outcome, out)
    print("\n".join(delta_lines(out / "study.json")))
    print(f"report: {page}")
    return _ended(outcome, out)


def _ablation(plan: Ablation, out: Path, command: str) -> int:
    """A recipe without each of its ingredients."""
    from hybridvit.runs.run import Run
    from hybridvit.studies.ablation.cells import ablation_cells
    from hybridvit.studies.ablation.report import write_ablation_report
    from hybridvit.studies.ablation.run import conduct_ablation
    from hybridvit.studies.ablation.summary import worth_lines
    from hybridvit.studies.ablation.table import tabulate
    from hybridvit.studies.conduct import StudyFolder
    from hybridvit.studies.progress import ProgressDisplay

    folder = StudyFolder(out, plan)
    print(plan.title, file=sys.stderr)
    firsts = [cell for cell in ablation_cells(plan) if cell.seed == plan.base.seed]
    width = max(len(cell.row) for cell in firsts)
    for cell in firsts:  # builds every row, so that what does not fit is known now
        run = Run(cell.recipe)
        if not len(run.test):
            raise ValueError("an ablation is about test accuracy, and data.test is 0")
        print(f"  {cell.row:<{width}} {run.params:>12,} parameters", file=sys.stderr)
    with ProgressDisplay() as display:
        outcome = conduct_ablation(plan, folder, display)
    page = write_ablation_report(plan, folder, outcome, command)
    table = tabulate(plan, outcome.results)
    if page is None or table is None:
        return _nothing("nothing can be compared", outcome, out)
    print("\n".join(worth_lines(table)))
    print(f"report: {page}")
    return _ended(outcome, out)


def _nothing(what: str, outcome: AnyOutcome, out: Path) -> int:
    failed = f"{len(outcome.failed)} runs failed, see {out / 'cells'}"
    reasons = [failed] * bool(outcome.failed) + [_left(outcome)] * bool(outcome.left)
    return say(f"{what}: {'; '.join(reasons)}", FAILED)


def _ended(outcome: AnyOutcome, out: Path) -> int:
    if outcome.failed:
        failed = len(outcome.failed)
        return say(f"{failed} runs failed, see {out / 'cells'}; the same command tries them again", FAILED)
    if outcome.left:
        return say(_left(outcome), FAILED)
    return DONE


def _left(outcome: AnyOutcome) -> str:
    return f"the time is up, and {outcome.left} runs are left; the same command goes on"


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
