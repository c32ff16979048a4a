"""What hybridvit costs on this machine: its layers against timm's and against each other, memory, imports.

Every time is a median over paired runs, interleaved in one process (A B A B ..., after a warm-up), of a
forward and backward pass with gradients for the input; a ratio is the median of the ratios of the pairs.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata, util
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hybridvit.layers import GPSA, MHSA, attention
from hybridvit.training.run_folder import device_name, revision, versions

Row = dict[str, Any]
Run = Callable[[], object]
Cases = tuple[tuple[int, int, float], ...]  # side of the grid, batch, limit of the target
Floats = Sequence[float]
Layers = Sequence[nn.Module]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
EMULATED = DEVICE.type == "cpu" and not attention.has_bf16_units()
NOTES = {"fp32": "", "bf16": "bf16 is emulated here: this CPU has no bf16 matrix units" if EMULATED else ""}
synchronize: Run = torch.cuda.synchronize if DEVICE.type == "cuda" else lambda: None

# Extra and base in one process: the difference between two processes of seconds each is mostly noise.
IMPORTS = """
from time import perf_counter as now; start = now()
import torch, torchvision; base = now()
import hybridvit as hv
hv.create_model, hv.create_backbone, hv.layers.GPSA, hv.HydraNet, hv.list_models
print(now() - base, base - start)
"""


class LeftOut(Exception):
    """Why rows cannot be measured here."""


@dataclass(frozen=True)
class Sizes:
    """What is measured, and for how long; the defaults are the full bench."""

    dim: int = 432
    num_heads: int = 9
    timm: Cases = ((14, 64, 3), (24, 16, 7))
    mhsa: Cases = ((14, 16, 1.25), (24, 4, 1.25))
    core_tokens: tuple[int, ...] = (49, 64, 196, 576, 1024)
    core_run: float = 0.01  # seconds; the batch is doubled until a run takes them
    memory: tuple[int, int, float] = (24, 4, 0.25)
    seconds: tuple[float, float, float] = (10, 5, 2)  # for a row against timm, against MHSA, of a core
    pairs: int = 3  # for every row at least
    processes: int = 5


QUICK = Sizes(
    timm=((14, 8, 3), (24, 4, 7)), mhsa=((14, 8, 1.25), (24, 2, 1.25)), seconds=(1, 1, 0.4), pairs=2, processes=1
)


def run_bench(quick: bool = False, on_row: Callable[[Row], object] | None = None, sizes: Sizes | None = None) -> Row:
    """Measures everything, on a CUDA device if there is one and else on the CPU.

    ``quick`` takes smaller batches and fewer pairs, ``sizes`` others altogether; ``on_row`` is called with
    each row as soon as it is measured. The result can be written as JSON: versions, revision, device, quick,
    seconds, rows (see :func:`row`), and in left_out why other rows could not be measured.
    """
    sizes = sizes or (QUICK if quick else Sizes())
    result: Row = {
        "versions": {**versions(), "timm": metadata.version("timm") if util.find_spec("timm") else "not installed"},
        "revision": revision(), "device": device_name(DEVICE), "quick": quick, "rows": [], "left_out": [],
    }  # fmt: skip
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        for part in (against_timm, against_mhsa, kernel_choice, start_up):
            try:
                for measured in part(sizes):
                    result["rows"].append(measured)
                    if on_row is not None:
                        on_row(measured)
                    gc.collect()
                    torch.cuda.empty_cache()
            except LeftOut as why:
                result["left_out"].append(str(why))
    return {**result, "seconds": time.perf_counter() - began}


def row(
    what: str, of: str, limit: float, ours: Floats, peer: Floats = (), name: str = "", unit: str = "s", note: str = ""
) -> Row:
    """One measurement, from paired ones in ``unit``: seconds "s", bytes "B", or "" for a plain number.

    ``limit`` bounds ``of``: "ours" or "ours/peer" from above, "peer/ours" from below; ``name`` is the peer's.
    """
    least = of == "peer/ours"
    ratios = [b / a if least else a / b for a, b in zip(ours, peer, strict=True)] if peer else []
    value = median(ours if of == "ours" else ratios)
    target = f"{of} {'>=' if least else '<='} {limit:g} {unit if of == 'ours' else ''}".rstrip()
    return {
        "what": what, "unit": unit, "ours": median(ours),
        "peer": median(peer) if peer else None, "peer_name": name, "ratio": median(ratios) if peer else None,
        "target": target, "reached": value >= limit if least else value <= limit, "pairs": len(ours), "note": note,
    }  # fmt: skip


def against_timm(sizes: Sizes) -> Iterator[Row]:
    """Our GPSA and timm's with the same weights: outputs, peaks of extra memory (both in fp32), and times."""
    layers = ours, theirs = gpsa_pair(sizes)
    side, batch, limit = sizes.memory
    size = f"n = {side * side}, batch {batch}, fp32"
    x = torch.randn(batch, side * side, sizes.dim).to(DEVICE).requires_grad_()
    with torch.no_grad():
        difference = (ours(x, (side, side)) - theirs(x)).abs().max().item()
    yield row(f"GPSA, difference to timm, {size}", "ours", 1e-5, [difference], name="timm", unit="")
    peaks = [peak_memory(run) for run in layer_runs(layers, x, (side, side), "fp32")]
    yield row(f"GPSA, peak memory against timm, {size}", "ours/peer", limit, peaks[:1], peaks[1:], "timm", "B")
    yield from layer_times(sizes, layers, sizes.timm, sizes.seconds[0], "peer/ours", "timm")


def against_mhsa(sizes: Sizes) -> Iterator[Row]:
    """The times of our GPSA and of our plain attention."""
    layers = [kind(sizes.dim, sizes.num_heads, qkv_bias=False).to(DEVICE) for kind in (GPSA, MHSA)]
    yield from layer_times(sizes, layers, sizes.mhsa, sizes.seconds[1], "ours/peer", "MHSA")


def layer_times(sizes: Sizes, layers: Layers, cases: Cases, seconds: float, of: str, name: str) -> Iterator[Row]:
    """The times of our GPSA and of its peer, on every case in fp32 and under bf16 autocast."""
    for (side, batch, limit), precision in product(cases, DTYPES):
        x = torch.randn(batch, side * side, sizes.dim).to(DEVICE).requires_grad_()
        ours, peer = interleaved(layer_runs(layers, x, (side, side), precision), seconds, sizes.pairs)
        what = f"GPSA against {name}, n = {side * side}, batch {batch}, {precision}"
        yield row(what, of, limit, ours, peer, name, note=NOTES[precision])


def kernel_choice(sizes: Sizes) -> Iterator[Row]:
    """The core of our attention with the kernel it chooses, and with the faster of the two; 5 % is noise."""
    for n, precision in product(sizes.core_tokens, DTYPES):
        batch = 1
        while batch * n * n < 2**24 and min(interleaved(core_runs(n, batch, precision)[:1], 0, 2)[0]) < sizes.core_run:
            batch *= 2
        ours, *peers = interleaved(core_runs(n, batch, precision), sizes.seconds[2], sizes.pairs)
        best, peer = min(zip(("fused", "explicit"), peers, strict=True), key=lambda named: median(named[1]))
        what = f"attention core, choice against best, n = {n}, batch {batch}, {precision}"
        yield row(what, "ours/peer", 1.05, ours, peer, best, note=NOTES[precision])


def start_up(sizes: Sizes) -> Iterator[Row]:
    """Seconds that hybridvit adds to the import of torch and torchvision, and wall time of ``hybridvit --help``."""
    printed = [python("-c", IMPORTS)[1] for _ in range(1 + sizes.processes)][1:]
    extra, base = zip(*(map(float, line.split()) for line in printed), strict=True)
    yield row("import hybridvit, after torch, torchvision", "ours", 0.3, extra, base, "torch, torchvision")
    times = [python("-m", "hybridvit.cli", "--help")[0] for _ in range(1 + 3 * sizes.processes)][1:]
    yield row("hybridvit --help", "ours", 1, times)


def gpsa_pair(sizes: Sizes) -> tuple[GPSA, nn.Module]:
    """Our GPSA near its convolutional start, and timm's with the same weights; LeftOut where there is no timm."""
    if util.find_spec("timm") is None:
        raise LeftOut("timm is not installed: pip install 'hybridvit[timm]'")
    from timm.models import convit

    ours, theirs = GPSA(sizes.dim, sizes.num_heads), convit.GPSA(sizes.dim, sizes.num_heads)
    with torch.no_grad():
        for weight in (ours.qkv.weight, ours.position, ours.gate):
            weight += 0.1 * torch.randn_like(weight)
        theirs.qk.weight.copy_(ours.qkv.weight[: 2 * sizes.dim])
        theirs.v.weight.copy_(ours.qkv.weight[2 * sizes.dim :])
        theirs.pos_proj.weight.copy_(ours.position)  # its bias cancels in the softmax
        theirs.gating_param.copy_(ours.gate)
        theirs.proj.load_state_dict(ours.proj.state_dict())
    return ours.to(DEVICE), theirs.to(DEVICE)


def layer_runs(layers: Layers, x: Tensor, grid: tuple[int, int], precision: str) -> list[Run]:
    """A forward pass (under autocast in bf16) and a backward pass of each layer, leaving no gradients behind."""
    dtype = DTYPES[precision]
    gradient = torch.randn(x.shape).to(DEVICE, dtype)

    def run(layer: nn.Module) -> None:
        with torch.autocast(DEVICE.type, dtype, enabled=precision != "fp32"):
            out = layer(x, grid) if isinstance(layer, attention.Attention) else layer(x)
        out.backward(gradient)
        x.grad = None
        layer.zero_grad()

    return [partial(run, layer) for layer in layers]


def core_runs(n: int, batch: int, precision: str) -> list[Run]:
    """What attention does between its projections (4 heads of 48), forward and backward: chosen, fused, explicit."""
    dtype = DTYPES[precision]
    qkv = torch.randn(batch, n, 3 * 4 * 48).to(DEVICE, dtype).requires_grad_()
    gradient = torch.randn(batch, n, 4 * 48).to(DEVICE, dtype)

    def run(kernel: attention.Kernel) -> None:
        q, k, v = (x.to(kernel.dtype) for x in attention.split_heads(qkv, 4))
        attention.merge_heads(attention.attend(q, k, v, kernel).to(dtype)).backward(gradient)
        qkv.grad = None

    chosen = attention.choose_kernel(DEVICE.type, dtype, n)
    return [partial(run, kernel) for kernel in (chosen, attention.Kernel(True, dtype), attention.Kernel(False, dtype))]


def interleaved(runs: Sequence[Run], seconds: float, pairs: int) -> list[list[float]]:
    """The seconds of each run in every round: until there are enough and the time is up, after one to warm up."""
    rounds: list[list[float]] = []
    began = time.perf_counter()
    while len(rounds) <= pairs or time.perf_counter() - began < seconds:
        rounds.append([])
        for run in runs:
            synchronize()
            start = time.perf_counter()
            run()
            synchronize()
            rounds[-1].append(time.perf_counter() - start)
    return [list(column) for column in zip(*rounds[1:], strict=True)]


class LiveMemory(TorchDispatchMode):
    """The ``peak`` bytes of the tensors made under it and alive, saved ones included, buffers inside kernels not."""

    def __init__(self) -> None:
        super().__init__()
        self.live: weakref.WeakKeyDictionary[torch.UntypedStorage, int] = weakref.WeakKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = storages((args, kwargs))
        out = func(*args, **(kwargs or {}))
        self.live.update((storage, storage.nbytes()) for storage in storages(out) - given)
        self.peak = max(self.peak, sum(self.live.values()))
        return out


def storages(tree: Any) -> set[torch.UntypedStorage]:
    """The memory behind the tensors in nested lists, tuples and dictionaries."""
    return {leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)}


def peak_memory(run: Run) -> int:
    """The most bytes a run holds at once beyond what was there before; what its first run keeps is not counted."""
    run()
    if DEVICE.type == "cpu":
        with LiveMemory() as memory:
            run()
        return memory.peak
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    return torch.cuda.max_memory_allocated() - before


def python(*arguments: str) -> tuple[float, str]:
    """Seconds and output of a new Python process that finds this hybridvit; LeftOut if it fails or prints nothing."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    if done.returncode or not done.stdout:
        raise LeftOut(f"start-up: {(done.stderr.strip().splitlines() or ['nothing was printed'])[-1]}")
    return time.perf_counter() - began, done.stdout


def quantity(value: float, unit: str) -> str:
    """A number with its unit, short."""
    return {"s": f"{1000 * value:.1f} ms", "B": f"{value / 2**20:.1f} MiB", "": f"{value:.1e}"}[unit]


def format_table(result: dict[str, Any]) -> str:
    """The result of :func:`run_bench` as aligned text: a line on the machine, one for each row, the notes."""
    notes = list(dict.fromkeys(row["note"] for row in result["rows"] if row["note"]))
    lines = [("what", "ours", "peer", "ratio", "pairs", "target", "reached")]
    for row in result["rows"]:
        sizes = ["-" if row[key] is None else quantity(row[key], row["unit"]) for key in ("ours", "peer")]
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}"
        reached = ("yes" if row["reached"] else "no") + (f" [{1 + notes.index(row['note'])}]" if row["note"] else "")
        lines.append((row["what"], *sizes, ratio, str(row["pairs"]), row["target"], reached))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    form = "  ".join(f"{{:{'>' if 1 <= i <= 4 else '<'}{width}}}" for i, width in enumerate(widths))
    packages = ", ".join(f"{name} {result['versions'][name]}" for name in ("hybridvit", "torch", "timm"))
    head = [f"{result['device']}; {packages}; measured in {result['seconds']:.0f} s", ""]
    foot = [f"[{number}] {note}" for number, note in enumerate(notes, 1)]
    foot += [f"left out: {why}" for why in result["left_out"]]
    return "\n".join(head + [form.format(*line).rstrip() for line in lines] + foot)
