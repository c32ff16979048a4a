"""What sharing a trunk costs or gains: the results of a comparison of tasks as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridvit.recipe import MultiTaskStudy
from hybridvit.studies.multitask.cells import ALONE, alone, together
from hybridvit.studies.multitask.deltas import Scores, relative_gain
from hybridvit.studies.statistics import MIN_SEEDS_FOR_CLAIM, Interval, holm, mean_interval, sign_flip_p

Results = Mapping[str, dict[str, Any]]  # cell key -> result


@dataclass(frozen=True)
class Worth:
    """Δm of a trunk and a balance over seeds, in %.

    Attributes:
        seeds: the seeds that both sides have.
        delta: mean Δm, with its interval from 3 seeds on.
        tasks: task -> its part of it.
        p: Holm-adjusted sign-flip p value; None below 6 seeds, and where nothing is claimed.
        left_out: "task metric" that was left out for a single-task value of 0.
    """

    seeds: tuple[int, ...]
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
        worth: Δm against the same trunk's single tasks; None for the row of these.
        against_first: Δm against the first trunk's single tasks; None for the row of these.
    """

    trunk: str
    balance: str
    seeds: tuple[int, ...]
    metrics: dict[tuple[str, str], Interval]
    params: int
    seconds: float
    worth: Worth | None
    against_first: Worth | None


@dataclass(frozen=True)
class Comparison:
    """All rows that have at least one complete seed, and which way each metric is better."""

    rows: tuple[Row, ...]
    better: dict[str, dict[str, bool]]

    @property
    def columns(self) -> list[tuple[str, str]]:
        """(task, metric) that any row has, in the order of the tasks."""
        found = {column for row in self.rows for column in row.metrics}
        everything = [(task, metric) for task, metrics in self.better.items() for metric in metrics]
        return [column for column in everything if column in found]


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
                    _worth(scores, singles[trunk], better, claim=True) if balance != ALONE else None,
                    _worth(scores, singles[first], better, claim=False) if (trunk, balance) != (first, ALONE) else None,
                )
            )
    return Comparison(tuple(_adjusted(rows)), better) if rows else None


def _singles(study: MultiTaskStudy, trunk: str, results: Results) -> dict[int, list[dict[str, Any]]]:
    """Seed -> results of every task alone, for the seeds that have them all."""
    found = {}
    for seed in range(study.seeds):
        keys = [alone(study, trunk, task, seed).key for task in study.base.tasks]
        if all(key in results for key in keys):
            found[seed] = [results[key] for key in keys]
    return found


def _joint(study: MultiTaskStudy, trunk: str, balance: str, results: Results) -> dict[int, list[dict[str, Any]]]:
    keys = {seed: together(study, trunk, balance, seed).key for seed in range(study.seeds)}
    return {seed: [results[key]] for seed, key in keys.items() if key in results}


def _scores(parts: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    return {task: metrics for part in parts for task, metrics in (part["test"] or {}).items()}


def _metrics(scores: Mapping[int, Scores], better: Mapping[str, Mapping[str, bool]]) -> dict[tuple[str, str], Interval]:
    found = {}
    for task, directions in better.items():
        for metric in directions:
            values = [one[task][metric] for one in scores.values() if metric in one.get(task, {})]
            if values:
                found[task, metric] = mean_interval(np.array(values))
    return found


def _worth(
    scores: Mapping[int, Scores],
    singles: Mapping[int, list[dict[str, Any]]],
    better: Mapping[str, Mapping[str, bool]],
    claim: bool,
) -> Worth | None:
    """Paired by seed; None where the two sides have no seed, or no metric, in common."""
    both = [seed for seed in scores if seed in singles]
    deltas = {seed: relative_gain(scores[seed], _scores(singles[seed]), better) for seed in both}
    deltas = {seed: delta for seed, delta in deltas.items() if delta.tasks}
    if not deltas:
        return None
    means = np.array([delta.mean for delta in deltas.values()])
    tasks = {}
    for task in better:
        values = [delta.tasks[task] for delta in deltas.values() if task in delta.tasks]
        if values:
            tasks[task] = mean_interval(np.array(values))
    p = sign_flip_p(means) if claim and len(means) >= MIN_SEEDS_FOR_CLAIM else None
    left_out = tuple(dict.fromkeys(name for delta in deltas.values() for name in delta.left_out))
    return Worth(tuple(deltas), mean_interval(means), tasks, p, left_out)


def _adjusted(rows: list[Row]) -> list[Row]:
    """The rows with their p values adjusted for how many there are."""
    raw = [row.worth.p for row in rows if row.worth is not None and row.worth.p is not None]
    adjusted = iter(holm(raw)) if raw else iter(())
    return [
        replace(row, worth=replace(row.worth, p=next(adjusted)))
        if row.worth is not None and row.worth.p is not None
        else row
        for row in rows
    ]
