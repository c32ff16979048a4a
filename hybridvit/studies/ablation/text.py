"""An ablation in the words and rows of its report."""

from __future__ import annotations

from math import isfinite
from typing import Any

from hybridvit.recipe import Ablation
from hybridvit.studies.ablation.summary import params_text, seconds_text
from hybridvit.studies.ablation.table import AblationTable, Row, Worth
from hybridvit.studies.differences import changed_fields, in_words
from hybridvit.studies.report.page import optimiser_in_words, signed, tasks_in_words
from hybridvit.studies.statistics import MIN_SEEDS_FOR_CLAIM, MIN_SEEDS_FOR_INTERVAL, mean_interval

SIGNIFICANT = 0.05
_TONES = {1: "good", -1: "bad", 0: ""}


def cards(table: AblationTable) -> list[dict[str, Any]]:
    """The whole recipe, what is worth most in it, what is worth least, and all of it together."""
    base = table.base
    value, low, high = mean_interval(100 * base.accuracy)
    lines = [f"95 % interval {low:.2f} to {high:.2f} %"] if isfinite(low) else []
    lines.append(f"{base.params:,} parameters, {base.seconds.mean():.1f} seconds a run")
    found: list[dict[str, Any]] = [
        {"name": "Everything", "number": f"{value:.2f}", "unit": "%", "tone": "", "lines": lines}
    ]
    paired = [(row.name, row.worth) for row in table.ingredients if row.worth is not None]
    if paired:
        name, worth = paired[0]
        found.append(_card(name, worth, "worth most" if worth.sign >= 0 else "hurts least"))
    if len(paired) > 1:
        name, worth = paired[-1]
        found.append(_card(name, worth, "worth least" if worth.sign >= 0 else "hurts most"))
    if table.baseline is not None and table.baseline.worth is not None:
        parts = sum(worth.mean.value for _, worth in paired)
        found.append(_card("All together", table.baseline.worth, f"one at a time they add up to {signed(parts, 2)}"))
    return found


def _card(name: str, worth: Worth, line: str) -> dict[str, Any]:
    value, low, high = worth.mean
    lines = [line, *([f"95 % interval {signed(low, 2)} to {signed(high, 2)}"] if isfinite(low) else [])]
    return {"name": name, "number": signed(value, 2), "unit": "points", "tone": _TONES[worth.sign], "lines": lines}


def claim(table: AblationTable) -> str:
    """What the seeds can carry."""
    worths = [
        ("all together" if row is table.baseline else row.name, row.worth)
        for row in table.rows
        if row.worth is not None
    ]
    if not worths:
        return "No worth yet: there is no seed for which the whole recipe and a row without an ingredient are there."
    tested = [(name, worth.p) for name, worth in worths if worth.p is not None]
    if not tested:
        most = max(len(worth.seeds) for _, worth in worths)
        return (
            f"{most} {'seed' if most == 1 else 'seeds'}: too few to claim significance ({MIN_SEEDS_FOR_CLAIM} or more "
            "are needed), so none is claimed"
            + (
                "."
                if most >= MIN_SEEDS_FOR_INTERVAL
                else f", and below {MIN_SEEDS_FOR_INTERVAL} there is no interval either."
            )
        )
    text = (
        f"p: exact two-sided sign-flip test of the difference in accuracy, paired by seed, Holm-adjusted for "
        f"{len(tested)} comparison{'' if len(tested) == 1 else 's'}."
    )
    if table.smallest_p > SIGNIFICANT:
        seeds = max(len(worth.seeds) for _, worth in worths)
        return f"{text} With {seeds} seeds none can fall below {table.smallest_p:.3f}, so none is called significant."
    below = [name for name, p in tested if p <= SIGNIFICANT]
    return f"{text} At most {SIGNIFICANT}: {', '.join(below) or 'none'}."


def table_rows(study: Ablation, table: AblationTable) -> list[dict[str, Any]]:
    """Every row as its cells show it."""
    return [_cells(study, table, row) for row in table.rows]


def _cells(study: Ablation, table: AblationTable, row: Row) -> dict[str, Any]:
    base, worth = table.base, row.worth
    value, low, high = mean_interval(100 * row.accuracy)
    count = f"{len(row.seeds)} of {study.seeds} seeds" if len(row.seeds) < study.seeds else ""
    return {
        "name": row.name,
        "seeds": count,
        "differs": [str(difference) for difference in row.differs],
        "worth": None if worth is None else worth.mean,
        "tone": "" if worth is None else _TONES[worth.sign],
        "p": f"{worth.p:.3f}" if worth is not None and worth.p is not None else "",
        "accuracy": f"{value:.2f}",
        "interval": f"{low:.2f} – {high:.2f}" if isfinite(low) else "",
        "seconds": f"{row.seconds.mean():.1f}",
        "seconds_change": "" if row is base else seconds_text(worth),
        "params": f"{row.params:,}",
        "params_change": "" if row.params == base.params else params_text(row, base),
    }


def held_fixed(study: Ablation, one: dict[str, Any]) -> list[tuple[str, str]]:
    """What all runs have in common."""
    train = study.base.train
    size = " × ".join(str(side) for side in one["image_size"])
    selection = "none: no validation share is set apart, and the weights of the last step count"
    if one["validation_images"]:
        selection = f"the best step on the data set's own {one['validation_images']:,} validation images"
    return [
        (
            "Data",
            f"{one['dataset']}, {size} pixels; {one['train_images']:,} training images, and the same "
            f"{one['test_images']:,} test images for every run, read once, after the last step",
        ),
        ("Budget", f"{train.steps:,} steps of {train.batch_size} images"),
        ("Pairing", "a seed draws the same images in the same order for every row"),
        ("Selection", selection),
    ]


def whole_recipe(study: Ablation) -> list[tuple[str, str]]:
    """Everything that the base is made of."""
    base = study.base
    said = [
        ("Model", in_words(base.model)),
        ("Tasks", tasks_in_words(base)),
        ("Augmentation", in_words(base.augment)),
        ("Optimiser", f"{optimiser_in_words(base)}, learning rate {base.optim.lr:g}"),
        ("Training", ", ".join(f"{name} {in_words(value)}" for name, value in vars(base.train).items())),
    ]
    rest = {n: v for n, v in changed_fields(base).items() if n not in _SAID}
    return said + [(name.replace("_", " ").capitalize(), in_words(value)) for name, value in rest.items()]


_SAID = ("name", "model", "data", "augment", "tasks", "optim", "train", "seed")  # said above, or held fixed
