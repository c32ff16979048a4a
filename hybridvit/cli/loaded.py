"""hybridvit evaluate, predict, export and report: commands that read a trained run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hybridvit.cli.console import DONE, Parser, scores_text


def evaluate(words: list[str]) -> int:
    """hybridvit evaluate RUN"""
    parser = Parser(prog="hybridvit evaluate")
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--checkpoint")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(words)

    from hybridvit.runs.loaded_run import LoadedRun

    run = LoadedRun(options.run, options.checkpoint)
    scores, images = run.evaluate(options.split)
    if options.json:
        print(
            json.dumps(
                {"run": str(options.run), "checkpoint": run.checkpoint.name, options.split: scores, "images": images}
            )
        )
    else:
        print(
            f"{options.run}, checkpoint {run.checkpoint.name}, {images:,} {options.split} images: {scores_text(scores)}"
        )
    return DONE


def predict(words: list[str]) -> int:
    """hybridvit predict RUN IMAGE [IMAGE ...], or VIEW=IMAGE ... for one sample of several cameras"""
    parser = Parser(prog="hybridvit predict")
    parser.add_argument("run", type=Path)
    parser.add_argument("images", nargs="+")
    parser.add_argument("--out", type=Path, help="folder for predicted masks, as PNG")
    parser.add_argument("--checkpoint")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(words)

    from hybridvit.data.samples import ONE_VIEW
    from hybridvit.runs.loaded_run import LoadedRun

    run = LoadedRun(options.run, options.checkpoint)
    several = run.data.shapes.keys() != {ONE_VIEW}
    samples = [_one_sample(options.images)] if several else [Path(image) for image in options.images]
    rows = run.predict(samples)
    for number, row in enumerate(rows):
        _move_masks(row, number, options.out)
    if options.json:
        print(json.dumps(rows))
        return DONE
    if len(run.tasks) == 1:
        (task,) = run.tasks
        width = max(len(_named(row)) for row in rows)
        for row in rows:
            print(f"{_named(row):<{width}}  {_in_words(row[task])}")
        return DONE
    width = max(len(task) for task in run.tasks)
    for row in rows:
        print(_named(row))
        for task in run.tasks:
            print(f"  {task:<{width}}  {_in_words(row[task])}")
    return DONE


def export(words: list[str]) -> int:
    """hybridvit export RUN --out FOLDER"""
    parser = Parser(prog="hybridvit export")
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--checkpoint")
    options = parser.parse_args(words)

    from hybridvit.runs.loaded_run import LoadedRun

    run = LoadedRun(options.run, options.checkpoint)
    size = run.export(options.out)
    print(f"{options.out}: checkpoint {run.checkpoint.name}, {size / 1e6:.1f} MB")
    return DONE


def report(words: list[str]) -> int:
    """hybridvit report RUN"""
    parser = Parser(prog="hybridvit report")
    parser.add_argument("run", type=Path)
    options = parser.parse_args(words)

    from hybridvit.runs.loaded_run import LoadedRun
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
                from PIL import Image

                out.mkdir(parents=True, exist_ok=True)
                stem = Path(row["image"]).stem if isinstance(row["image"], str) else f"sample{number}"
                answer["file"] = str(out / f"{stem}.{task}.png")
                Image.fromarray(mask).save(answer["file"])


def _named(row: dict[str, Any]) -> str:
    image = row["image"]
    return image if isinstance(image, str) else " ".join(f"{view}={path}" for view, path in image.items())


def _in_words(answer: dict[str, Any]) -> str:
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
