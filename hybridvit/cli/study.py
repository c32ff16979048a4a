"""hybridvit study"""

from __future__ import annotations

from pathlib import Path

from hybridvit.cli.console import DONE, FAILED, HELP, Parser, command_line, parse_first, say
from hybridvit.cli.field_help import study_help


def study(words: list[str]) -> int:
    """hybridvit study RECIPE [--out FOLDER] [--FIELD VALUE ...]"""
    if words and words[0] in HELP:
        return study_help()
    parser = Parser(prog="hybridvit study", add_help=False)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--out", type=Path)
    known, flags = parse_first(parser, words, "recipe")

    from hybridvit.cli.flags import apply_flags
    from hybridvit.recipe_file import read_recipe
    from hybridvit.studies.conduct import run_study

    plan = apply_flags(read_recipe(known.recipe, "study"), flags, f"hybridvit study {known.recipe}")
    out = known.out or Path("runs") / plan.base.name
    outcome = run_study(plan, out, command=command_line("study", words))
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
