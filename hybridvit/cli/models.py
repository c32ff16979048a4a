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
    known = parser.parse_args(words)

    from hybridvit.backbones.variants import VARIANTS
    from hybridvit.config import nearest
    from hybridvit.models import list_models
    from hybridvit.summary import difference, format_difference, summaries, table

    if known.diff:
        if known.pattern != "*" or known.image_size:
            raise ValueError("--diff takes two names and nothing else")
        fields = difference(*known.diff)
        if known.json:
            first, second = known.diff
            print(json.dumps({"diff": [{"field": name, first: a, second: b} for name, a, b in fields]}))
        else:
            print(format_difference(known.diff[0], known.diff[1], fields))
        return DONE
    size = None
    if known.image_size:
        if len(known.image_size) > 2:
            raise ValueError(f"--image-size is one side or height and width, given {known.image_size}")
        size = (known.image_size[0], known.image_size[-1])
    names = [known.pattern] if known.pattern.startswith("timm/") else list_models(known.pattern)
    if not names:
        raise ValueError(f"no model matches {known.pattern!r}: {nearest(known.pattern.strip('*'), VARIANTS)}")
    if known.json:
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
    known = parser.parse_args(words)

    from hybridvit.bench import format_row, format_table, run_bench

    def tell(row: dict[str, Any]) -> None:
        print(format_row(row), file=sys.stderr, flush=True)

    result = run_bench(quick=known.quick, on_row=tell if sys.stderr.isatty() else None)
    print(json.dumps(result) if known.json else format_table(result))
    return DONE
