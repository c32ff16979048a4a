"""hybridvit diagnose: what a trained run has learned, as tables, a page and JSON."""

from __future__ import annotations

import json
from pathlib import Path

from hybridvit.cli.console import DONE, Parser, command_line


def diagnose(words: list[str]) -> int:
    """hybridvit diagnose RUN [IMAGE ...]"""
    parser = Parser(prog="hybridvit diagnose")
    parser.add_argument("run", type=Path)
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--images", type=int, default=64, help="number of test images, where no pictures are named")
    parser.add_argument("--checkpoint")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    if given.images < 1:
        raise ValueError(f"--images must be at least 1, given {given.images}")

    from hybridvit.runs import diagnosis
    from hybridvit.runs.loaded_run import LoadedRun
    from hybridvit.studies.report.diagnosis import diagnosis_lines, write_diagnosis

    trained = LoadedRun(given.run, given.checkpoint)
    pixels = trained.read(given.pictures) if given.pictures else diagnosis.sample_images(trained, given.images)
    result = diagnosis.diagnose(trained, pixels)
    page = write_diagnosis(trained, pixels, result, command_line("diagnose", words))
    if given.json:
        print(json.dumps({"run": str(given.run), "checkpoint": trained.checkpoint.name, **result.to_json()}))
        return DONE
    print("\n".join(diagnosis_lines(result)))
    print(f"page: {page}")
    return DONE
