"""A study's findings in words: cards, sentences and warnings."""

from __future__ import annotations

from math import isfinite
from typing import Any

from hybridvit.config import to_dict
from hybridvit.studies.learning_curve.equivalence import Factor
from hybridvit.studies.learning_curve.learning_rates import best_rate
from hybridvit.studies.learning_curve.study import Arm, Study
from hybridvit.studies.learning_curve.table import Crossover, Equivalence, Table
from hybridvit.studies.report.page import signed, tone
from hybridvit.studies.statistics import Interval
from hybridvit.studies.study import Results

PARAMETER_TOLERANCE = 0.10  # models of one size: parameters within 10 %,
MULTIPLY_ADDS_TOLERANCE = 1.5  # and multiply-adds within a factor of 1.5
NARROW = 2.0  # points of test error: where two curves share less, their factor rests on little


def card(study: Study, model: str, one: Equivalence) -> dict[str, Any]:
    """What a model is worth: the factor, both intervals, what it rests on, and what sets the model apart."""
    factor, _, interval = str(one.factor).partition(" (")
    lines = [f"95 % interval over seeds: {interval.rstrip(')')}"] if interval else []
    if one.over_images is not None and one.over_images.resolved:
        lines.append(f"over test images: {_ends(one.over_images)}")
    return {
        "model": model,
        "factor": factor,
        "lines": [*lines, _rests_on(one), difference_in_words(study, model)],
    }


def _ends(factor: Factor) -> str:
    """Both ends of a factor's interval."""
    _, _, interval = str(factor).partition(" (")
    return interval.rstrip(")") or str(factor)


def _rests_on(one: Equivalence) -> str:
    if one.shared_errors is None:
        return "the two curves have no error in common, so this is a bound"
    low, high = (100 * error for error in one.shared_errors)
    little = ", which is little" if high - low < NARROW else ""
    return f"rests on the errors that both reach, {low:.1f} to {high:.1f} %{little}"


def difference_in_words(study: Study, model: str) -> str:
    """In words, what sets a model apart from the reference."""
    config, reference = to_dict(study.models[model]), to_dict(study.models[study.reference])
    if config["kind"] != reference["kind"]:
        return "convolution in every layer, no attention"
    words = []
    if config["tokenizer"]["kind"] != reference["tokenizer"]["kind"]:
        words.append("a convolutional stem instead of patches")
    if config["attention"] != reference["attention"]:
        gated = "gated positional self-attention that starts as a convolution"
        words.append(gated if "gpsa" in config["attention"] else "other attention")
    rest = [n for n in config if config[n] != reference[n] and n not in ("tokenizer", "attention")]
    if rest:
        words.append("and " + ", ".join(f"{name} {config[name]} instead of {reference[name]}" for name in rest))
    return ", ".join(words)


def warnings(study: Study, table: Table, results: Results) -> list[str]:
    """What a reader should know before the figures: models that are not matched, not trained out, or odd."""
    return [
        *_unmatched(study, table),
        *(
            f"The mean test error of the {model} rises at {_sizes(sizes)} images, although it has more of them."
            for model, sizes in table.rises.items()
        ),
        *_short(table),
        *_edges(study, results),
    ]


def _unmatched(study: Study, table: Table) -> list[str]:
    params, reference = table.params, study.reference
    off = [model for model, n in params.items() if abs(n / params[reference] - 1) > PARAMETER_TOLERANCE]
    lines = [
        f"Not matched: the {model} has {params[model]:,} parameters, the {reference} {params[reference]:,}."
        for model in off
    ]
    counts = table.multiply_adds
    if reference in counts:
        for model, count in counts.items():
            ratio = count / counts[reference]
            if not 1 / MULTIPLY_ADDS_TOLERANCE <= ratio <= MULTIPLY_ADDS_TOLERANCE:
                lines.append(f"Not matched: the {model} takes {ratio:.2f} times the multiply-adds of the {reference}.")
    return lines


def _short(table: Table) -> list[str]:
    """Models that more steps would still change."""
    late = [one for one in table.doublings if not one.enough]
    if not late:
        return []
    places = ", ".join(f"{one.model} at {one.train_size:,} images {signed(one.change.value)} points" for one in late)
    return [f"Not trained to the end: twice the steps change {places}."]


def _edges(study: Study, results: Results) -> list[str]:
    """Learning rates that could not be brought inside their grid."""
    if len(study.learning_rates) == 1:
        return []
    edges = [
        f"{arm.model} at {arm.train_size:,}"
        for arm, scores in study.validation_accuracy(results).items()
        if scores and best_rate(scores) in (min(scores), max(scores))
    ]
    return [f"The best learning rate is at the edge of its grid: {', '.join(edges)} images."] if edges else []


def _sizes(sizes: tuple[int, ...]) -> str:
    return " and ".join(f"{size:,}" for size in sizes)


def crossing_row(crossing: Crossover) -> dict[str, str]:
    """A crossover as the page shows it."""
    images, low, high = map(_about, crossing.images)
    return {"images": images, "ahead": crossing.ahead, "behind": crossing.behind, "interval": f"{low} to {high}"}


def _about(images: float) -> str:
    """A number of images to two digits."""
    return f"{float(f'{images:.2g}'):,.0f}"


def matched_by(table: Table) -> str:
    """By what the models are of one size, for the page's lead."""
    low, high = min(table.params.values()), max(table.params.values())
    text = f"{low:,} to {high:,} parameters"
    if len(table.multiply_adds) == len(table.params):
        least, most = min(table.multiply_adds.values()), max(table.multiply_adds.values())
        text += f" and {millions(least)} to {millions(most)} multiply-adds an image"
    return text


def millions(count: float) -> str:
    """A number in millions, to three digits."""
    return f"{count / 1e6:.3g} M"


def steps_in_words(study: Study) -> str:
    """How long every model is trained."""
    if not study.steps:
        return f"{study.base.train.steps:,} steps each"
    return f"{min(study.steps):,} steps on the fewest images to {max(study.steps):,} on the most"


def points(interval: Interval) -> dict[str, str]:
    """Points of accuracy with their interval, and its tone, as the page shows them."""
    value, low, high = interval
    ends = f"{signed(low)} to {signed(high)}" if isfinite(low) else ""
    return {"value": signed(value), "interval": ends, "tone": tone(interval)}


def selection(study: Study) -> str:
    """What was chosen on validation images, and how."""
    if len(study.learning_rates) == 1:
        return "none: one learning rate for all models"
    rates = ", ".join(f"{lr:g}" for lr in study.learning_rates)
    return (
        f"the learning rate of each model at each training size, from {rates}, extended while the best is at the edge, "
        "at the peak of the parabola through the best and its neighbours, "
        f"by the mean validation accuracy of {study.selection_seeds} seeds; {study.base.data.validation:.0%} of all "
        "training images are set apart for it, and these trials never read the test images"
    )


def rate_rows(study: Study, results: Results) -> list[dict[str, Any]]:
    """The chosen learning rates by model and size."""
    if len(study.learning_rates) == 1:
        return []
    chosen = study.chosen_rates(results)
    names = [*study.models, *study.variants]
    return [
        {
            "model": name,
            "rates": [f"{chosen[arm]:g}" if (arm := Arm(name, size)) in chosen else "" for size in study.train_sizes],
        }
        for name in names
    ]
