"""What the seeds of a study can carry: tests, adjusted for how many there are, and the sentence about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from hybridvit.studies.statistics import MIN_SEEDS_FOR_CLAIM, MIN_SEEDS_FOR_INTERVAL, Array, holm, sign_flip_p

SIGNIFICANT = 0.05
K = TypeVar("K")


def adjusted_p(differences: Mapping[K, Array]) -> dict[K, float | None]:
    """Holm-adjusted p values of sign-flip tests, one for each comparison; None where it has too few seeds.

    Args:
        differences: comparison -> paired differences, one for each seed.
    """
    raw = {name: sign_flip_p(d) for name, d in differences.items() if len(d) >= MIN_SEEDS_FOR_CLAIM}
    adjusted = dict(zip(raw, holm(list(raw.values())), strict=True))
    return {name: adjusted.get(name) for name in differences}


def smallest_p(seeds: int, comparisons: int) -> float:
    """The smallest adjusted p value that so many seeds and comparisons can give."""
    return min(2.0 ** (1 - seeds) * max(comparisons, 1), 1.0)


def claim(p_values: Mapping[str, float | None], seeds: int, about: str) -> str:
    """What is claimed and what is not, in plain sentences.

    Args:
        p_values: comparison -> adjusted p value, or None.
        seeds: the most seeds that any comparison has.
        about: what is tested.
    """
    tested = {name: p for name, p in p_values.items() if p is not None}
    if not tested:
        few = f" Below {MIN_SEEDS_FOR_INTERVAL} there is no interval either." * (seeds < MIN_SEEDS_FOR_INTERVAL)
        return (
            f"{seeds} seed{'' if seeds == 1 else 's'}: too few to claim significance ({MIN_SEEDS_FOR_CLAIM} or more "
            f"are needed), so none is claimed.{few}"
        )
    values = ", ".join(f"{name} p = {p:.3f}" for name, p in tested.items())
    text = (
        f"Exact two-sided sign-flip test of {about}, paired by seed, Holm-adjusted for {len(tested)} "
        f"comparison{'' if len(tested) == 1 else 's'}: {values}."
    )
    least = smallest_p(seeds, len(tested))
    if least > SIGNIFICANT:
        return f"{text} With {seeds} seeds none can fall below {least:.3f}, so none is called significant."
    significant = ", ".join(name for name, p in tested.items() if p <= SIGNIFICANT)
    return f"{text} At most {SIGNIFICANT}: {significant or 'none'}."
