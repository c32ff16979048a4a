"""What it costs to import hybridvit and to ask its command for help."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from hybridvit.bench.measure import LeftOut, Row, row
from hybridvit.bench.sizes import Sizes

# Extra and base in one process: the difference between two processes of seconds each is mostly noise.
IMPORTS = """
from time import perf_counter as now; start = now()
import torch, torchvision; base = now()
import hybridvit as hv
hv.create_model, hv.create_backbone, hv.layers.GPSA, hv.HydraNet, hv.list_models
print(now() - base, base - start)
"""


def start_up(sizes: Sizes) -> Iterator[Row]:
    """Seconds that hybridvit adds to the import of torch and torchvision, and wall time of ``hybridvit --help``."""
    printed = [python("-c", IMPORTS)[1] for _ in range(1 + sizes.processes)][1:]
    extra, base = zip(*(map(float, line.split()) for line in printed), strict=True)
    yield row("import hybridvit, after torch, torchvision", "ours", 0.3, extra, base, "torch, torchvision")
    times = [python("-m", "hybridvit.cli", "--help")[0] for _ in range(1 + 3 * sizes.processes)][1:]
    yield row("hybridvit --help", "ours", 1, times)


def python(*arguments: str) -> tuple[float, str]:
    """Seconds and output of a new Python process that finds this hybridvit; LeftOut if it fails or prints nothing."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    if done.returncode or not done.stdout:
        raise LeftOut(f"start-up: {(done.stderr.strip().splitlines() or ['nothing was printed'])[-1]}")
    return time.perf_counter() - began, done.stdout
