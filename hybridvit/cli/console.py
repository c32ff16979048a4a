"""What all commands share: exit statuses, messages and metrics in words."""

from __future__ import annotations

import sys
from typing import Any

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130
NOT_SHARES = ("mae", "distance", "r2", "cosine")


def say(message: str, status: int) -> int:
    """Prints one line on standard error and returns the status."""
    print(f"hybridvit: {' '.join(message.split())}", file=sys.stderr)
    return status


def print_result(result: dict[str, Any]) -> None:
    """The metrics of a finished training."""
    if result["validation"] is not None:
        chosen = f"{result['validation_images']} images, chosen at step {result['selected_step']}"
        print(f"validation ({chosen}): {scores_text(result['validation'])}")
    if result["test"] is not None:
        print(f"test ({result['test_images']} images): {scores_text(result['test'])}")
    if result.get("test_tta") is not None:
        print(f"test with test-time augmentation (horizontal flip): {scores_text(result['test_tta'])}")


def scores_text(scores: dict[str, dict[str, float]]) -> str:
    """Metrics in words: accuracy and other shares in %, with the names of tasks where there are several."""
    texts = {}
    for task, metrics in scores.items():
        values = {name: f"{x:.3f}" if name in NOT_SHARES else f"{100 * x:.2f} %" for name, x in metrics.items()}
        texts[task] = ", ".join(f"{name} {value}" for name, value in values.items()) or "no labels"
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "; ".join(f"{task}: {text}" for task, text in texts.items())
