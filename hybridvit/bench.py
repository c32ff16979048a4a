"""What hybridvit costs on this machine: its layers against timm's and against each other, memory, imports.

Every time is a median over paired runs, interleaved in one process (A B A B ..., after a warm-up), of a
forward and backward pass with gradients for the input; a ratio is the median of the ratios of the pairs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from hybridvit.layers import attention
from hybridvit.layers.gpsa import GPSA
from hybridvit.training.run_folder import device_name, revision, versions

Row = dict[str, Any]
Run = Callable[[], object]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
EMULATED = "bf16 is emulated here: this CPU has no bf16 matrix units"

# Extra and base in one process: the difference between two processes of seconds each is mostly noise.
IMPORTS = """
import time
start = time.perf_counter()
import torch, torchvision
base = time.perf_counter()
import hybridvit as hv
hv.create_model, hv.create_backbone, hv.layers.GPSA, hv.HydraNet, hv.list_models
print(time.perf_counter() - base, base - start)
"""


class LeftOut(Exception):
    """Why rows cannot be measured here."""


@dataclass(frozen=True)
class Sizes:
    """What is measured, and for how many seconds a row; the defaults are the full bench."""

    dim: int = 432
    num_heads: int = 9
    timm: tuple[tuple[int, int, float], ...] = ((14, 64, 3), (24, 16, 7))  # side of the grid, batch, target
    timm_seconds: float = 10
    mhsa: tuple[tuple[int, int, float], ...] = ((14, 16, 1.25), (24, 4, 1.25))
    mhsa_seconds: float = 5
    core_tokens: tuple[int, ...] = (49, 64, 196, 576, 1024)
    core_step: float = 0.01  # seconds that one run takes at least
    core_seconds: float = 2
    memory: tuple[int, int, float] = (24, 4, 0.25)
    processes: int = 5


QUICK = replace(Sizes(), timm=((14, 8, 3), (24, 4, 7)), timm_seconds=1.5, mhsa_seconds=1, core_seconds=0.4, processes=1)


def run_bench(quick: bool = False, on_row: Callable[[Row], object] | None = None, sizes: Sizes | None = None) -> Row:
    """Measures everything, on a CUDA device if there is one and else on the CPU.

    Args:
        quick: smaller batches and fewer pairs, for a first look.
        on_row: called with each row as soon as it is measured.
        sizes: what is measured instead.

    Returns:
        A JSON-able result: versions, revision, device, quick, seconds, rows (see :func:`row`), and in
        ``left_out`` why other rows could not be measured.
    """
    sizes = sizes or (QUICK if quick else Sizes())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[Row] = []
    left_out: list[str] = []
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        for part in (equality, against_timm, against_mhsa, kernel_choice, layer_memory, import_cost, help_time):
            try:
                for measured in part(sizes, device):
                    rows.append(measured)
                    if on_row is not None:
                        on_row(measured)
            except LeftOut as why:
                left_out.append(str(why))
    return {
        "versions": {**versions(), "timm": version("timm") if find_spec("timm") else "not installed"},
        "revision": revision(),
        "device": device_name(device),
        "quick": quick,
        "seconds": time.perf_counter() - began,
        "rows": rows,
        "left_out": list(dict.fromkeys(left_out)),
    }


def row(
    what: str, ours: Sequence[float], peer: Sequence[float] = (), *, of: str, limit: float, name: str = "",
    unit: str = "s", note: str = "",
) -> Row:  # fmt: skip
    """One measurement, from paired ones in ``unit``: seconds "s", bytes "B", or "" for a plain number.

    ``limit`` bounds ``of``: "ours" or "ours/peer" from above, "peer/ours" from below; ``name`` is the peer's.
    """
    faster = of == "peer/ours"
    ratios = [b / a if faster else a / b for a, b in zip(ours, peer, strict=True)] if peer else []
    value, bound = median(ours if of == "ours" else ratios), f"{limit:g} {unit}" if of == "ours" else f"{limit:g}"
    return {
        "what": what,
        "unit": unit,
        "ours": median(ours),
        "peer": median(peer) if peer else None,
        "peer_name": name,
        "ratio": median(ratios) if peer else None,
        "target": f"{of} {'>=' if faster else '<='} {bound.strip()}",
        "reached": value >= limit if faster else value <= limit,
        "pairs": len(ours),
        "note": note,
    }


def equality(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """The outputs of our GPSA and of timm's with the same weights, in fp32."""
    side = sizes.timm[0][0]
    with torch.no_grad():
        ours, theirs = (step.forward() for step in gpsa_and_timm(sizes, side, 2, device))
    what = f"GPSA, difference to timm's, n = {side * side}, fp32"
    yield row(what, [(ours - theirs).abs().max().item()], of="ours", limit=1e-5, name="timm", unit="")


def against_timm(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """The times of our GPSA and of timm's."""
    for side, batch, limit in sizes.timm:
        for precision in DTYPES:
            times = interleaved(gpsa_and_timm(sizes, side, batch, device, precision), sizes.timm_seconds, device)
            what = f"GPSA against timm's, n = {side * side}, batch {batch}, {precision}"
            yield row(what, *times, of="peer/ours", limit=limit, name="timm", note=note(precision, device))


def against_mhsa(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """The times of our GPSA and of our plain attention."""
    for side, batch, limit in sizes.mhsa:
        for precision in DTYPES:
            layers = [kind(sizes.dim, sizes.num_heads, qkv_bias=False) for kind in (GPSA, attention.MHSA)]
            steps = [Step(layer.to(device), batch, sizes.dim, (side, side), precision, device) for layer in layers]
            times = interleaved(steps, sizes.mhsa_seconds, device)
            what = f"GPSA against our MHSA, n = {side * side}, batch {batch}, {precision}"
            yield row(what, *times, of="ours/peer", limit=limit, name="MHSA", note=note(precision, device))


def kernel_choice(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """The core of our attention with the kernel we choose, and with the faster of both; 5 % is noise."""
    for n in sizes.core_tokens:
        for precision, dtype in DTYPES.items():
            batch, steps = core_steps(n, dtype, sizes.core_step, device)
            ours, *peers = interleaved(steps, sizes.core_seconds, device)
            best, peer = min(zip(("fused", "explicit"), peers, strict=True), key=lambda named: median(named[1]))
            what = f"kernel choice against the best, n = {n}, batch {batch}, {precision}"
            yield row(what, ours, peer, of="ours/peer", limit=1.05, name=best, note=note(precision, device))


def layer_memory(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """The peak of extra memory in a forward and backward pass of our GPSA and of timm's, in fp32."""
    side, batch, limit = sizes.memory
    peaks = []
    for step in gpsa_and_timm(sizes, side, batch, device):
        step()  # what a layer keeps from its first run is not extra
        peaks.append([peak_memory(step, device)])
    what = f"GPSA, peak memory against timm's, n = {side * side}, batch {batch}, fp32"
    yield row(what, *peaks, of="ours/peer", limit=limit, name="timm", unit="B")


def import_cost(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """Seconds that hybridvit adds to the import of torch and torchvision, each time in a new process."""
    timed = [[float(word) for word in python("-c", IMPORTS)[1].split()] for _ in range(1 + sizes.processes)][1:]
    what = "import hybridvit, on top of torch and torchvision"
    yield row(what, *zip(*timed, strict=True), of="ours", limit=0.3, name="import torch, torchvision")


def help_time(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """Wall time of ``hybridvit --help``."""
    times = [python("-m", "hybridvit.cli", "--help")[0] for _ in range(1 + 3 * sizes.processes)][1:]
    yield row("hybridvit --help", times, of="ours", limit=1)


class Step:
    """A forward pass (under autocast in bf16) and a backward pass of a layer; leaves no gradients behind."""

    def __init__(
        self, layer: nn.Module, batch: int, dim: int, grid: tuple[int, int], precision: str, device: torch.device
    ) -> None:
        self.layer, self.dtype, self.device = layer, DTYPES[precision], device.type
        self.x = torch.randn(batch, grid[0] * grid[1], dim, generator=torch.Generator().manual_seed(0)).to(device)
        self.inputs = (self.x.requires_grad_(), grid) if isinstance(layer, attention.Attention) else (self.x,)
        self.gradient = torch.randn(self.x.shape).to(device, self.dtype)

    def forward(self) -> Tensor:
        with torch.autocast(self.device, self.dtype, enabled=self.dtype != torch.float32):
            return self.layer(*self.inputs)

    def __call__(self) -> None:
        self.x.requires_grad_()
        self.forward().backward(self.gradient)
        self.layer.zero_grad()
        self.x.grad = None
