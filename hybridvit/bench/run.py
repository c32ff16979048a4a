"""All parts of the bench, one after the other."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from importlib import metadata, util

import torch

from hybridvit.bench.data import augmentation, fed_step
from hybridvit.bench.heads import cached_features, machinery, missing_camera
from hybridvit.bench.layers import gpsa_against_mhsa, gpsa_against_timm, kernel_choice
from hybridvit.bench.measure import DEVICE, LeftOut, Row
from hybridvit.bench.models import convit_against_deit, memory_growth, models_against_timm
from hybridvit.bench.sizes import QUICK, Sizes
from hybridvit.bench.start_up import start_up
from hybridvit.bench.studies import runs_per_minute
from hybridvit.training.run_folder import device_name, revision, versions

Subject = Callable[[Sizes], Iterator[Row]]
PARTS: tuple[tuple[str, tuple[Subject, ...]], ...] = (
    ("layers", (gpsa_against_timm, gpsa_against_mhsa, kernel_choice)),
    ("models", (models_against_timm, convit_against_deit, memory_growth)),
    ("heads", (machinery, cached_features, missing_camera)),
    ("data", (augmentation, fed_step)),
    ("studies", (runs_per_minute,)),
    ("start-up", (start_up,)),
)


def run_bench(quick: bool = False, on_row: Callable[[Row], object] | None = None, sizes: Sizes | None = None) -> Row:
    """Measures everything, on a CUDA device if there is one and else on the CPU.

    ``quick`` takes smaller batches and fewer pairs, ``sizes`` others altogether; ``on_row`` is called with
    each row as soon as it is measured. The result can be written as JSON: versions, revision, device, quick,
    seconds, rows (see :func:`hybridvit.bench.measure.row`), each with the part it belongs to, and in left_out
    why other rows could not be measured.
    """
    sizes = sizes or (QUICK if quick else Sizes())
    result: Row = {
        "versions": {**versions(), "timm": metadata.version("timm") if util.find_spec("timm") else "not installed"},
        "revision": revision(), "device": device_name(DEVICE), "quick": quick, "rows": [], "left_out": [],
    }  # fmt: skip
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        for part, subject in ((part, subject) for part, subjects in PARTS for subject in subjects):
            try:
                for measured in subject(sizes):
                    result["rows"].append({"part": part, **measured})
                    if on_row is not None:
                        on_row(result["rows"][-1])
                    gc.collect()
                    torch.cuda.empty_cache()
            except LeftOut as why:
                if str(why) not in result["left_out"]:
                    result["left_out"].append(str(why))
    return {**result, "seconds": time.perf_counter() - began}
