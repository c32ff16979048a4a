"""What all commands share: exit statuses, messages, and arguments of their own beside flags of fields."""

from __future__ import annotations

import argparse
import shlex
import sys
from typing import Any, NoReturn

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
HELP = ("-h", "--help")
NOT_SHARES = ("mae", "distance", "r2", "cosine")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def say(message: str, status: int) -> int:
    """Prints one line on standard error and returns the status."""
    print(f"hybridvit: {' '.join(message.split())}", file=sys.stderr)
    return status


def command_line(name: str, words: list[str]) -> str:
    """The command as it was typed, for the result file."""
    return shlex.join(["hybridvit", name, *words])


def parse_first(parser: Parser, words: list[str], first: str) -> tuple[argparse.Namespace, list[str]]:
    """The command's own arguments, and the flags of configuration fields.

    Raises:
        ValueError: the recipe or run, which comes first, is missing.
    """
    if not words:
        raise ValueError(f"the {first} is missing, as in: {parser.prog} {first.upper()}")
    if words[0].startswith("-"):
        raise ValueError(f"the {first} comes first, as in: {parser.prog} {first.upper()} {words[0]}")
    parser.allow_abbrev = False
    return parser.parse_known_args(words)


def scores_text(scores: dict[str, dict[str, float]]) -> str:
    """Metrics in words, with the names of tasks where there are several."""
    texts = {
        task: ", ".join(f"{name} {value_text(name, value)}" for name, value in metrics.items()) or "no labels"
        for task, metrics in scores.items()
    }
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{task}: {text}" for task, text in texts.items())


def value_text(metric: str, value: Any) -> str:
    """A metric's value: accuracy and other shares in %, other quantities as they are."""
    return f"{value:.3f}" if metric in NOT_SHARES else f"{100 * value:.2f} %"
