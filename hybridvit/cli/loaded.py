"""hybridvit evaluate, predict, diagnose, export and report: commands that read a trained run."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from hybridvit.cli.console import DONE, scores_text
from hybridvit.data.samples import ONE_VIEW
from hybridvit.runs.loaded_run import LoadedRun


def evaluate(options: Namespace) -> int:
    """hybridvit evaluate RUN"""
    run = LoadedRun(options.run, options.checkpoint)
    name, split = run.checkpoint.name, options.split
    scores, images = run.evaluate(split)
    if options.json:
        print(json.dumps({"run": str(options.run), "checkpoint": name, split: scores, "images": images}))
    else:
        print(f"{options.run}, checkpoint {name}, {images:,} {split} images: {scores_text(scores)}")
    return DONE


def predict(options: Namespace) -> int:
    """hybridvit predict RUN IMAGE [IMAGE ...], or VIEW=IMAGE ... for one sample of several cameras"""
    run = LoadedRun(options.run, options.checkpoint)
    several = run.data.shapes.keys() != {ONE_VIEW}
    samples = [_one_sample(options.images)] if several else [Path(image) for image in options.images]
    rows = run.predict(samples)
    for number, row in enumerate(rows):
        _move_masks(row, number, options.out)
    if options.json:
        print(json.dumps(rows))
    elif len(run.tasks) == 1:
        (task,) = run.tasks
        _print_table([(_image_text(row), row[task]) for row in rows])
    else:
        for row in rows:
            print(_image_text(row))
            _print_table([(f"  {task}", row[task]) for task in run.tasks])
    return DONE


def diagnose(options: Namespace) -> int:
    """hybridvit diagnose RUN [IMAGE ...]"""
    if options.images < 1:
        raise ValueError(f"--images must be at least 1, given {options.images}")
    from hybridvit.runs import diagnosis
    from hybridvit.studies.report.diagnosis import diagnosis_lines, write_diagnosis

    run = LoadedRun(options.run, options.checkpoint)
    pixels = run.read(options.pictures) if options.pictures else diagnosis.sample_images(run, options.images)
    result = diagnosis.diagnose(run, pixels)
    page = write_diagnosis(run, pixels, result, options.command_line)
    if options.json:
        print(json.dumps({"run": str(options.run), "checkpoint": run.checkpoint.name, **result.to_json()}))
    else:
        print("\n".join(diagnosis_lines(result)))
        print(f"page: {page}")
    return DONE


def export(options: Namespace) -> int:
    """hybridvit export RUN --out FOLDER"""
    run = LoadedRun(options.run, options.checkpoint)
    size = run.export(options.out)
    print(f"{options.out}: checkpoint {run.checkpoint.name}, {size / 1e6:.1f} MB")
    return DONE


def report(options: Namespace) -> int:
    """hybridvit report RUN"""
    from hybridvit.studies.report.run_report import write_run_report

    run = LoadedRun(options.run)
    print(f"report: {write_run_report(options.run, run, run.load())}")
    return DONE


def _one_sample(words: list[str]) -> dict[str, Path]:
    """The image of each camera, from words VIEW=IMAGE."""
    views: dict[str, Path] = {}
    for word in words:
        view, equals, path = word.partition("=")
        if not equals:
            raise ValueError(f"this run has several cameras: name the one that took {word}, as in front={word}")
        if view in views:
            raise ValueError(f"camera {view!r} is given twice")
        views[view] = Path(path)
    return views


def _move_masks(row: dict[str, Any], number: int, out: Path | None) -> None:
    """Writes predicted masks as files; without a folder, a row keeps only the share of each class."""
    for task, answer in row.items():
        if isinstance(answer, dict) and "mask" in answer:
            mask = answer.pop("mask")
            if out is not None:
                out.mkdir(parents=True, exist_ok=True)
                stem = Path(row["image"]).stem if isinstance(row["image"], str) else f"sample{number}"
                answer["file"] = str(out / f"{stem}.{task}.png")
                Image.fromarray(mask).save(answer["file"])


def _image_text(row: dict[str, Any]) -> str:
    image = row["image"]
    return image if isinstance(image, str) else " ".join(f"{view}={path}" for view, path in image.items())


def _print_table(rows: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Names and the answers of heads, aligned."""
    width = max(len(name) for name, _ in rows)
    for name, answer in rows:
        print(f"{name:<{width}}  {_answer_text(answer)}")


def _answer_text(answer: dict[str, Any]) -> str:
    """One head's answer on one line."""
    if "class" in answer and "probability" in answer:
        return f"{answer['class']}  {100 * answer['probability']:.1f} %"
    return "  ".join(f"{name} {_short(value)}" for name, value in answer.items())


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {_short(v)}" for name, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_short(v) for v in value) + "]"
    return str(value)
