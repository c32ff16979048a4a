"""hybridvit models and bench."""

from __future__ import annotations

import json
import sys
from typing import Any

from hybridvit.cli.console import DONE, Parser


def models(words: list[str]) -> int:
    """hybridvit models [PATTERN]"""
    parser = Parser(prog="hybridvit models")
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--image-size", type=int, nargs="+", help="side, or height and width, in pixels")
    parser.add_argument("--diff", nargs=2, metavar="NAME", help="the fields in which two models differ")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(words)

    from hybridvit.backbones.variants import VARIANTS
    from hybridvit.config import nearest
    from hybridvit.models import difference, format_difference, list_models, summaries, table

    if options.diff:
        if options.pattern != "*" or options.image_size:
            raise ValueError("--diff takes two names and nothing else")
        fields = difference(*options.diff)
        if options.json:
            first, second = options.diff
            print(json.dumps({"diff": [{"field": name, first: a, second: b} for name, a, b in fields]}))
        else:
            print(format_difference(options.diff[0], options.diff[1], fields))
        return DONE
    size = None
    if options.image_size:
        if len(options.image_size) > 2:
            raise ValueError(f"--image-size is one side or height and width, given {options.image_size}")
        size = (options.image_size[0], options.image_size[-1])
    names = [options.pattern] if options.pattern.startswith("timm/") else list_models(options.pattern)
    if not names:
        raise ValueError(f"no model matches {options.pattern!r}: {nearest(options.pattern.strip('*'), VARIANTS)}")
    if options.json:
        print(json.dumps({"models": list(summaries(names, size))}))
        return DONE
    for line in table(names, size):
        print(line, flush=True)
    return DONE


def bench(words: list[str]) -> int:
    """hybridvit bench"""
    parser = Parser(prog="hybridvit bench")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller measurements")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(words)

    from hybridvit.bench import format_row, format_table, run_bench

    def show(row: dict[str, Any]) -> None:
        print(format_row(row), file=sys.stderr, flush=True)

    result = run_bench(quick=options.quick, on_row=show if sys.stderr.isatty() else None)
    print(json.dumps(result) if options.json else format_table(result))
    return DONE
