"""hybridvit data check."""

from __future__ import annotations

import json
from argparse import Namespace

from hybridvit.cli.console import DONE, WRONG
from hybridvit.data.check.check import check_manifest, format_report


def data(options: Namespace) -> int:
    """hybridvit data check MANIFEST [--json]"""
    report = check_manifest(options.manifest)
    print(json.dumps(report.to_dict()) if options.json else format_report(report))
    return WRONG if report.errors else DONE
