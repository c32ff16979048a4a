"""hybridvit models and bench."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from hybridvit.backbones.variants import VARIANTS
from hybridvit.cli.console import DONE
from hybridvit.config import nearest
from hybridvit.models import difference, format_difference, list_models, summaries, table


def models(options: Namespace) -> int:
    """hybridvit models [PATTERN]"""
    if options.diff:
        if options.pattern != "*" or options.image_size:
            raise ValueError("--diff takes two names and nothing else")
        first, second = options.diff
        fields = difference(first, second)
        if options.json:
            print(json.dumps({"diff": [{"field": name, first: a, second: b} for name, a, b in fields]}))
        else:
            print(format_difference(first, second, fields))
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


def bench(options: Namespace) -> int:
    """hybridvit bench"""
    from hybridvit.bench import format_row, format_table, run_bench

    def show(row: dict[str, Any]) -> None:
        print(format_row(row), file=sys.stderr, flush=True)

    result = run_bench(quick=options.quick, on_row=show if sys.stderr.isatty() else None)
    print(json.dumps(result) if options.json else format_table(result))
    return DONE
