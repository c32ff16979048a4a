"""What the seeds of a study can carry: tests, adjusted for how many there are, and the paragraph about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from hybridvit.studies.statistics import (
    MIN_SEEDS_FOR_INTERVAL,
    SIGNIFICANT,
    Array,
    holm,
    seeds_needed,
    sign_flip_p,
)

K = TypeVar("K")


def adjusted_p(differences: Mapping[K, Array]) -> dict[K, float | None]:
    """Holm-adjusted p values of sign-flip tests, one for each comparison; None where it has too few seeds.

    A comparison with too few seeds (:func:`seeds_needed`) was still made. It counts in Holm's number, as p = 1.

    Args:
        differences: comparison -> paired differences, one for each seed.
    """
    needed = seeds_needed(len(differences))
    enough = {name: len(values) >= needed for name, values in differences.items()}
    raw = [sign_flip_p(values) if enough[name] else 1.0 for name, values in differences.items()]
    adjusted = dict(zip(differences, holm(raw), strict=True))
    return {name: p if enough[name] else None for name, p in adjusted.items()}


def claim(p_values: Mapping[str, float | None], seeds: int, about: str) -> str:
    """What is claimed and what is not, and the test, in one paragraph.

    Args:
        p_values: comparison -> adjusted p value, or None, of all comparisons that were made.
        seeds: the most seeds that any comparison has.
        about: what is tested, e.g. "the difference in accuracy".
    """
    if not p_values:
        return "There is nothing to compare, so nothing is claimed."
    tested = {name: p for name, p in p_values.items() if p is not None}
    claimed = {name: p for name, p in tested.items() if p <= SIGNIFICANT}
    not_claimed = {name: p for name, p in tested.items() if p > SIGNIFICANT}
    untested = [name for name in p_values if name not in tested]
    comparisons, needed = _comparisons(len(p_values)), seeds_needed(len(p_values))
    sentences = [f"Claimed to differ from 0: {_listed(claimed)}." if claimed else "No difference is claimed."]
    if not_claimed:
        sentences.append(f"Not claimed: {_listed(not_claimed)}.")
    if untested and tested:
        sentences.append(f"Not tested for want of seeds: {', '.join(untested)}; {comparisons} need {needed}.")
    elif untested:
        few = "1 seed is" if seeds == 1 else f"{seeds} seeds are"
        sentences.append(f"{few} too few to claim significance for {comparisons}: {needed} are needed.")
    if seeds < MIN_SEEDS_FOR_INTERVAL:
        sentences.append(f"Below {MIN_SEEDS_FOR_INTERVAL} there is no interval either.")
    test = f"The test: exact two-sided sign-flip test of {about}, paired by seed"
    sentences.append(f"{test}, Holm-adjusted for {comparisons}, at {100 * SIGNIFICANT:.0f} %.")
    return " ".join(sentences)


def _comparisons(count: int) -> str:
    return f"{count} comparison{'' if count == 1 else 's'}"


def _listed(p_values: Mapping[str, float | None]) -> str:
    return ", ".join(f"{name} (p = {p:.3f})" for name, p in p_values.items())
