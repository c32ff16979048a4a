"""hybridvit data check."""

from __future__ import annotations

import json
from pathlib import Path

from hybridvit.cli.console import DONE, WRONG, Parser


def data(words: list[str]) -> int:
    """hybridvit data check MANIFEST [--json]"""
    parser = Parser(prog="hybridvit data")
    parser.add_argument("action", choices=("check",))
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(words)

    from hybridvit.data.check.check import check_manifest, format_report

    report = check_manifest(options.manifest)
    print(json.dumps(report.to_dict()) if options.json else format_report(report))
    return WRONG if report.errors else DONE
