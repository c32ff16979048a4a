"""What sharing a trunk costs or gains: the results of a comparison of tasks as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridvit.studies.claims import adjusted_p
from hybridvit.studies.multitask.deltas import Scores, near_zero, relative_gain
from hybridvit.studies.multitask.study import ALONE, MultiTaskStudy
from hybridvit.studies.statistics import Array, Interval, mean_interval
from hybridvit.studies.study import Results


@dataclass(frozen=True)
class Effect:
    """Δm of a trunk and a balance over seeds, in %.

    Attributes:
        seeds: the seeds that both sides have.
        by_seed: Δm of each seed, ``[seeds]``.
        delta: its mean, with its interval from 3 seeds on.
        tasks: task -> its part of it.
        p: Holm-adjusted sign-flip p value; None where it has too few seeds, and against another trunk's single tasks.
        left_out: "task metric" that was left out of every seed, for a single-task value near 0 in any of them.
    """

    seeds: tuple[int, ...]
    by_seed: Array
    delta: Interval
    tasks: dict[str, Interval]
    p: float | None
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A trunk with one balance, or with every task alone.

    Attributes:
        trunk: name of the trunk.
        balance: name of the balance, or "alone".
        seeds: the seeds that are complete.
        metrics: (task, metric) -> test value, mean over those seeds.
        params: number of parameters; of the tasks alone their sum.
        seconds: mean training time of a seed, from start to result; of the tasks alone their sum.
        effect: Δm against the same trunk's single tasks; None for the row of these.
        against_first: Δm against the first trunk's single tasks; None for the row of these.
    """

    trunk: str
    balance: str
    seeds: tuple[int, ...]
    metrics: dict[tuple[str, str], Interval]
    params: int
    seconds: float
    effect: Effect | None
    against_first: Effect | None


@dataclass(frozen=True)
class Comparison:
    """All rows that have at least one complete seed, and which way each metric is better."""

    rows: tuple[Row, ...]
    better: dict[str, dict[str, bool]]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """(task, metric) that any row has, in the order of the tasks."""
        present = {column for row in self.rows for column in row.metrics}
        everything = [(task, metric) for task, metrics in self.better.items() for metric in metrics]
        return [column for column in everything if column in present]


def compare(study: MultiTaskStudy, results: Results) -> Comparison | None:
    """Tabulates a comparison; None while no seed of any row is complete."""
    better = {task: config.higher_is_better() for task, config in study.base.tasks.items()}
    singles = {trunk: _singles(study, trunk, results) for trunk in study.trunks}
    first = next(iter(study.trunks))
    rows = []
    for trunk in study.trunks:
        runs = {ALONE: singles[trunk]} | {name: _joint(study, trunk, name, results) for name in study.balances}
        for balance, by_seed in runs.items():
            if not by_seed:
                continue
            scores = {seed: _scores(parts) for seed, parts in by_seed.items()}
            rows.append(
                Row(
                    trunk,
                    balance,
                    tuple(scores),
                    _metrics(scores, better),
                    sum(part["params"] for part in next(iter(by_seed.values()))),
                    float(np.mean([sum(part["seconds"]["total"] for part in parts) for parts in by_seed.values()])),
                    _effect(scores, singles[trunk], better) if balance != ALONE else None,
                    _effect(scores, singles[first], better) if (trunk, balance) != (first, ALONE) else None,
                )
            )
    return Comparison(_adjusted(rows), better) if rows else None


def _singles(study: MultiTaskStudy, trunk: str, results: Results) -> dict[int, list[dict[str, Any]]]:
    """Seed -> results of every task alone, for the seeds that have them all."""
    complete = {}
    for seed in range(study.repetitions):
        keys = [study.alone(trunk, task, seed).key for task in study.base.tasks]
        if all(key in results for key in keys):
            complete[seed] = [results[key] for key in keys]
    return complete


def _joint(study: MultiTaskStudy, trunk: str, balance: str, results: Results) -> dict[int, list[dict[str, Any]]]:
    keys = {seed: study.together(trunk, balance, seed).key for seed in range(study.repetitions)}
    return {seed: [results[key]] for seed, key in keys.items() if key in results}


def _scores(parts: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {task: metrics for part in parts for task, metrics in (part["test"] or {}).items()}


def _metrics(scores: Mapping[int, Scores], better: Mapping[str, Mapping[str, bool]]) -> dict[tuple[str, str], Interval]:
    intervals = {}
    for task, directions in better.items():
        for metric in directions:
            values = [one[task][metric] for one in scores.values() if metric in one.get(task, {})]
            if values:
                intervals[task, metric] = mean_interval(np.array(values))
    return intervals


def _effect(
    scores: Mapping[int, Scores],
    singles: Mapping[int, list[dict[str, Any]]],
    better: Mapping[str, Mapping[str, bool]],
) -> Effect | None:
    """Paired by seed; None where the two sides have no seed, or no metric, in common."""
    base = {seed: _scores(singles[seed]) for seed in scores if seed in singles}
    left_out = tuple(dict.fromkeys(name for single in base.values() for name in near_zero(single, better)))
    deltas = {seed: relative_gain(scores[seed], single, better, left_out) for seed, single in base.items()}
    deltas = {seed: delta for seed, delta in deltas.items() if delta.tasks}
    if not deltas:
        return None
    means = np.array([delta.mean for delta in deltas.values()])
    tasks = {}
    for task in better:
        values = [delta.tasks[task] for delta in deltas.values() if task in delta.tasks]
        if values:
            tasks[task] = mean_interval(np.array(values))
    return Effect(tuple(deltas), means, mean_interval(means), tasks, None, left_out)


def _adjusted(rows: list[Row]) -> tuple[Row, ...]:
    """The rows with the p values of their effects, adjusted for how many there are."""
    p_values = adjusted_p({index: row.effect.by_seed for index, row in enumerate(rows) if row.effect is not None})
    return tuple(
        row if row.effect is None else replace(row, effect=replace(row.effect, p=p_values[index]))
        for index, row in enumerate(rows)
    )
