"""What every command says and returns."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any, NoReturn

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def say(message: str, status: int) -> int:
    """One line on standard error; returns the status."""
    print(f"hybridvit: {' '.join(message.split())}", file=sys.stderr)
    return status


def command_line(name: str, words: list[str]) -> str:
    """What the user typed, for the result file."""
    return shlex.join(["hybridvit", name, *words])


def parse_first(parser: Parser, words: list[str], first: str) -> tuple[argparse.Namespace, list[str]]:
    """Own arguments, and the flags of configuration fields; the recipe or run comes first."""
    if not words or words[0] in ("-h", "--help"):
        from hybridvit.cli import USAGE

        print(USAGE, end="")
        raise SystemExit(DONE if words else WRONG)
    if words[0].startswith("-"):
        raise ValueError(f"the {first} comes first, as in: {parser.prog} {first.upper()} {words[0]}")
    parser.allow_abbrev = False
    return parser.parse_known_args(words)


def scores_text(scores: dict[str, dict[str, float]]) -> str:
    """Metrics in words: shares in %, other quantities as they are; tasks named where there are several."""
    several = len(scores) > 1
    parts = []
    for task, metrics in scores.items():
        found = ", ".join(f"{name} {value_text(name, value)}" for name, value in metrics.items()) or "no labels"
        parts.append(f"{task}: {found}" if several else found)
    return "; ".join(parts) if several else parts[0]


NOT_SHARES = ("mae", "distance", "r2", "cosine")


def value_text(metric: str, value: Any) -> str:
    """A metric's value: accuracy and other shares in %."""
    return f"{value:.3f}" if metric in NOT_SHARES else f"{100 * value:.2f} %"
