"""What every head of a trained run says of a few images, beside the truth, as pictures and text for a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hybridvit import plots
from hybridvit.runs.loaded_run import LoadedRun

COUNT = 12
SIDE = 160  # pixels that a picture has at least, so that small ones stay crisp
CLEAR = ("background", "ground", "free", "empty", "other")  # classes whose pixels are left as they are


@dataclass(frozen=True)
class Mark:
    """A box or a point on a picture, in pixels of the original.

    Attributes:
        box: x1, y1, x2, y2; None: a point.
        point: x, y.
        colour: CSS colour.
        truth: what is, rather than what is predicted.
        text: said beside it.
    """

    colour: str
    truth: bool
    text: str = ""
    box: tuple[float, ...] | None = None
    point: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Picture:
    """An image with what is drawn on it.

    Attributes:
        caption: what it shows.
        src: PNG as a data URI; None: the camera is missing.
        height: of the original, in pixels.
        width: likewise.
        marks: boxes and points.
    """

    caption: str
    src: str | None
    height: int
    width: int
    marks: list[Mark] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """What one head says; ``right`` is None where that is no matter of yes or no, ``truth`` where there is no label."""

    task: str
    said: str
    truth: str | None
    right: bool | None = None


@dataclass(frozen=True)
class Shown:
    """One sample: its pictures, of its views and then of masks, and the answers of all heads."""

    pictures: list[Picture]
    answers: list[Answer]
    views: int


@dataclass(frozen=True)
class Predictions:
    """A page of predictions.

    Attributes:
        part: the split the samples are from.
        samples: in the order of the split.
        legends: task -> (class, CSS colour) of what occurs.
        marked: boxes or points are drawn somewhere.
    """

    part: str
    samples: list[Shown]
    legends: dict[str, list[tuple[str, str]]]
    marked: bool


def look(trained: LoadedRun, splits: Any, count: int = COUNT) -> Predictions:
    """Predictions for a seeded choice of test samples; of validation or training ones where there are no others."""
    part = next(name for name in ("test", "validation", "train") if len(getattr(splits, name)))
    whole = getattr(splits, part)
    chosen = np.sort(np.random.default_rng(0).permutation(len(whole))[:count])
    samples = whole[chosen].in_memory()
    said = _predict(trained, samples)
    legends: dict[str, set[int]] = {}
    shown = [_show(trained, splits, samples, said, index, legends) for index in range(len(samples))]
    named = {
        task: [
            (trained.data.columns[trained.tasks[task].target].names[k], _css(_colours(trained, task)[k]))
            for k in sorted(seen)
        ]
        for task, seen in legends.items()
    }
    return Predictions(part, shown, named, any(picture.marks for one in shown for picture in one.pictures))


@torch.no_grad()
def _predict(trained: LoadedRun, samples: Any) -> dict[str, list[dict[str, Any]]]:
    """Task -> what it says of each sample."""
    net = trained.net.cpu().eval()
    pixels = {
        view: trained.data.normalisation[view](torch.from_numpy(images)) for view, images in samples.views.items()
    }
    if len(pixels) == 1 and not samples.present:
        predictions = net(next(iter(pixels.values())))
    else:
        predictions = net(pixels, {view: torch.from_numpy(_there(samples, view)) for view in pixels})
    return {name: task.decode(predictions[name].float()) for name, task in trained.tasks.items()}


def _there(samples: Any, view: str) -> NDArray[np.bool_]:
    present: Mapping[str, NDArray[np.bool_]] = samples.present
    return present[view] if view in present else np.ones(len(samples), bool)


def _show(
    trained: LoadedRun,
    splits: Any,
    samples: Any,
    said: Mapping[str, list[dict[str, Any]]],
    index: int,
    legends: dict[str, set[int]],
) -> Shown:
    views = list(samples.views)
    marks: dict[str, list[Mark]] = {view: [] for view in views}
    masks: list[Picture] = []
    answers = []
    for name, task in trained.tasks.items():
        view = task.view or (views[0] if len(views) == 1 else None)
        if task.view is not None and not _there(samples, task.view)[index]:
            answers.append(Answer(name, f"no {task.view} camera", ""))
            continue
        kind = trained.configs[name].column
        column = trained.data.columns[task.target]
        value = samples.targets[task.target][index] if task.target in splits.columns else None
        decoded = said[name][index]
        if kind == "mask":
            on = plots.to_rgb(samples.views[view][index]) if view is not None else None
            answers.append(
                _mask(name, decoded["mask"], value, on, _colours(trained, name), column.names, masks, legends)
            )
        elif kind == "points":
            answers.append(_points(name, decoded, value, column.names, marks[view or views[0]]))
        elif kind == "boxes":
            answers.append(_boxes(name, decoded["objects"], value, column.names, marks[view or views[0]]))
        else:
            answers.append(_text(name, kind, decoded, value, column.names))
    pictures = [
        _picture(view if len(views) > 1 else "", samples.views[view][index], _there(samples, view)[index], marks[view])
        for view in views
    ]
    return Shown(pictures + masks, answers, len(views))


def _picture(caption: str, image: NDArray[np.uint8], there: bool, marks: list[Mark]) -> Picture:
    height, width = image.shape[1:]
    return Picture(caption, _src(plots.to_rgb(image)) if there else None, height, width, marks if there else [])


def _mask(
    task: str,
    found: NDArray[np.uint8],
    truth: NDArray[np.uint8] | None,
    on: NDArray[np.uint8] | None,
    colours: NDArray[np.uint8],
    names: tuple[str, ...],
    pictures: list[Picture],
    legends: dict[str, set[int]],
) -> Answer:
    """The masks over their image, or as small maps of their own."""
    clear = next((k for k, name in enumerate(names) if name.lower() in CLEAR), None)
    known = truth is not None and bool((truth < len(names)).any())
    for mask, what in ((found, "predicted"), (truth if known else None, "true")):
        if mask is None:
            continue
        under = on if on is not None else np.full((*mask.shape, 3), 225, np.uint8)
        scaled = plots.enlarged(under, SIDE)
        laid = plots.with_mask(scaled, mask, colours, clear, 0.55 if on is not None else 1.0)
        pictures.append(Picture(f"{task}, {what}", _src(laid), *mask.shape))
        seen = {int(k) for k in np.unique(mask) if k < len(names) and k != clear}
        legends.setdefault(task, set()).update(seen)
    if truth is None or not known:
        return Answer(task, "see the picture", None)
    valid = truth < len(names)
    rows = np.arange(truth.shape[0]) * found.shape[0] // truth.shape[0]
    columns = np.arange(truth.shape[1]) * found.shape[1] // truth.shape[1]
    right = float((found[rows][:, columns] == truth)[valid].mean())
    return Answer(task, f"{100 * right:.0f} % of pixels right", "")


def _points(
    task: str, found: Mapping[str, Mapping[str, float]], truth: NDArray[np.float32] | None, names: tuple[str, ...],
    marks: list[Mark],
) -> Answer:  # fmt: skip
    off = []
    for k, name in enumerate(names):
        text = name if len(names) <= 3 else ""
        here = (found[name]["x"], found[name]["y"])
        if truth is not None and not np.isnan(truth[k]).any():
            marks.append(Mark(_series(k), True, "", point=tuple(truth[k].tolist())))
            off.append(float(np.hypot(*(np.array(here) - truth[k]))))
        marks.append(Mark(_series(k), False, text, point=here))
    if not off:
        return Answer(task, "see the picture", None)
    return Answer(task, f"{np.mean(off):.1f} px off" + (" on average" if len(off) > 1 else ""), "")


def _boxes(
    task: str, found: list[dict[str, Any]], truth: NDArray[np.float32] | None, names: tuple[str, ...],
    marks: list[Mark],
) -> Answer:  # fmt: skip
    known = truth is not None and not np.isnan(truth).all()
    real = [row for row in truth if row[0] >= 0] if truth is not None and known else []
    for row in real:
        marks.append(Mark(_series(int(row[0])), True, "", box=tuple(row[1:].tolist())))
    for thing in found:
        colour = _series(names.index(thing["class"]))
        marks.append(Mark(colour, False, f"{thing['class']} {100 * thing['score']:.0f} %", box=tuple(thing["box"])))
    said = ", ".join(f"{thing['class']} {100 * thing['score']:.0f} %" for thing in found[:4]) or "nothing"
    more = f" and {len(found) - 4} more" if len(found) > 4 else ""
    is_there = ", ".join(names[int(row[0])] for row in real[:4]) or "nothing"
    rest = f" and {len(real) - 4} more" if len(real) > 4 else ""
    same = sorted(thing["class"] for thing in found) == sorted(names[int(row[0])] for row in real)
    return Answer(task, said + more, is_there + rest if known else None, same if known else None)


def _text(task: str, kind: str, said: Mapping[str, Any], truth: Any, names: tuple[str, ...]) -> Answer:
    if kind == "multilabel":
        text = ", ".join(said["classes"]) or "none"
        if truth is None or (truth < 0).all():
            return Answer(task, text, None)
        real = [name for name, value in zip(names, truth.tolist(), strict=True) if value == 1]
        unknown = {name for name, value in zip(names, truth.tolist(), strict=True) if value < 0}
        return Answer(task, text, ", ".join(real) or "none", set(said["classes"]) - unknown == set(real))
    if kind == "numbers":
        single = len(names) == 1
        text = ", ".join(_number(v) if single else f"{name} {_number(v)}" for name, v in said.items())
        if truth is None or np.isnan(truth).all():
            return Answer(task, text, None)
        return Answer(task, text, ", ".join("–" if np.isnan(v) else _number(v) for v in truth.tolist()))
    text = f"{said['class']} {100 * said['probability']:.0f} %"
    if truth is None or kind == "teacher" or truth < 0:
        return Answer(task, text, None)
    return Answer(task, text, names[int(truth)], said["class"] == names[int(truth)])


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _colours(trained: LoadedRun, task: str) -> NDArray[np.uint8]:
    return plots.class_colours(len(trained.data.columns[trained.tasks[task].target].names))


def _series(index: int) -> str:
    """Bright colours, which show on any picture."""
    return plots.DARK.series[(index + 1) % len(plots.DARK.series)]


def _css(colour: NDArray[np.uint8]) -> str:
    red, green, blue = colour.tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"


def _src(pixels: NDArray[np.uint8]) -> str:
    data = base64.b64encode(plots.encode_png(plots.enlarged(pixels, SIDE))).decode("ascii")
    return f"data:image/png;base64,{data}"
