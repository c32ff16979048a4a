"""What hybridvit costs on this machine: its layers against timm's and against themselves, memory, imports.

Every time is a median over paired runs, interleaved in one process (A B A B ..., after a warm-up), of a
forward and backward pass with gradients for the input; the ratio is the median of the per-pair ratios.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hybridvit.layers.attention import (
    MHSA,
    attend,
    attention_scores,
    choose_kernel,
    has_bf16_units,
    merge_heads,
    split_heads,
)
from hybridvit.layers.gpsa import GPSA
from hybridvit.training.run_folder import device_name, revision, versions

Run = Callable[[], object]

EMULATED = "bf16 is emulated here: this CPU has no bf16 matrix units"
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

# The base and the extra are timed in the same process: the difference of two processes, seconds each, is
# noisier than the extra itself.
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


class Effort(NamedTuple):
    """How long one row is measured: pairs until ``seconds`` have passed, at least ``least``, at most ``most``."""

    least: int
    seconds: float
    most: int = 100


class Case(NamedTuple):
    """A batch of square grids, and the target of what is measured on it."""

    side: int
    batch: int
    target: float


@dataclass(frozen=True)
class Sizes:
    """What is measured, and for how long; the fields are the full bench."""

    dim: int = 432
    num_heads: int = 9
    against_timm: tuple[Case, ...] = (Case(14, 64, 3.0), Case(24, 16, 7.0))
    against_timm_effort: Effort = Effort(3, 10.0)
    against_mhsa: tuple[Case, ...] = (Case(14, 16, 1.25), Case(24, 4, 1.25))
    against_mhsa_effort: Effort = Effort(5, 5.0)
    core_tokens: tuple[int, ...] = (49, 64, 196, 576, 1024)
    core_seconds: float = 0.01  # the least one run may take; the batch grows until then
    core_effort: Effort = Effort(5, 2.0)
    memory: Case = Case(24, 4, 0.25)
    processes: int = 5


FULL = Sizes()
QUICK = replace(
    FULL,
    against_timm=(Case(14, 8, 3.0), Case(24, 4, 7.0)),
    against_timm_effort=Effort(2, 1.5),
    against_mhsa_effort=Effort(3, 1.0),
    core_effort=Effort(3, 0.4),
    processes=1,
)


class Target(NamedTuple):
    """What a row should reach: a limit on ``ours`` or on one of the two ratios."""

    of: Literal["ours", "ours/peer", "peer/ours"]
    sign: Literal["<=", ">="]
    limit: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement; ``ours`` and ``peer`` are in ``unit``: seconds, bytes, or none for a plain number."""

    what: str
    ours: float
    peer: float | None = None
    peer_name: str | None = None
    unit: Literal["s", "B", ""] = "s"
    ratio: float | None = None
    target: Target
    pairs: int = 1
    note: str = ""

    @property
    def reached(self) -> bool:
        """Whether the target is met."""
        value = self.ours if self.target.of == "ours" or self.ratio is None else self.ratio
        return value <= self.target.limit if self.target.sign == "<=" else value >= self.target.limit

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON holds it."""
        return {**self.__dict__, "target": self.target._asdict(), "reached": self.reached}


def run_bench(
    quick: bool = False, on_row: Callable[[dict[str, Any]], object] | None = None, sizes: Sizes | None = None
) -> dict[str, Any]:
    """Measures everything, on the first CUDA device if there is one and else on the CPU.

    Args:
        quick: smaller batches and fewer pairs: a first look in well under a minute.
        on_row: called with each row as soon as it is measured.
        sizes: what is measured, instead of the full or the quick bench.

    Returns:
        A JSON-able result: versions, revision, device, quick, seconds, rows (:class:`Row`), and in
        left_out the reasons for the rows that could not be measured.
    """
    sizes = sizes or (QUICK if quick else FULL)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        for part in (equality, against_timm, against_mhsa, kernel_choice, peak_of_layers, import_cost, help_time):
            try:
                for row in part(sizes, device):
                    rows.append(row.as_dict())
                    if on_row is not None:
                        on_row(rows[-1])
            except LeftOut as reason:
                left_out += [str(reason)] if str(reason) not in left_out else []
    return {
        "versions": versions() | ({"timm": version("timm")} if find_spec("timm") else {"timm": "not installed"}),
        "revision": revision(),
        "device": device_name(device),
        "quick": quick,
        "seconds": time.perf_counter() - began,
        "rows": rows,
        "left_out": left_out,
    }


def equality(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """The outputs of our GPSA and of timm's with the same weights, in fp32."""
    ours, theirs = gpsa_pair(sizes, device)
    side = sizes.against_timm[0].side
    x = torch.randn(2, side * side, sizes.dim, device=device)
    with torch.no_grad():
        difference = (ours(x, (side, side)) - theirs(x)).abs().max().item()
    what = f"GPSA, largest difference to timm's, n = {side * side}, fp32"
    yield Row(what=what, ours=difference, unit="", peer_name="timm", target=Target("ours", "<=", 1e-5))


def against_timm(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """The time of our GPSA and of timm's."""
    for (side, batch, target), name in product(sizes.against_timm):
        ours, theirs = gpsa_pair(sizes, device)
        x, grid = tokens_on_grid(sizes, side, batch, device)
        runs = [
            training_step(lambda: ours(x, grid), [x, *ours.parameters()], PRECISIONS[name]),  # noqa: B023
            training_step(lambda: theirs(x), [x, *theirs.parameters()], PRECISIONS[name]),  # noqa: B023
        ]
        what = f"GPSA against timm's, n = {side * side}, batch {batch}, {name}"
        times = interleaved(runs, sizes.against_timm_effort, device)
        yield timed(what, *times, "timm", Target("peer/ours", ">=", target), bf16_note(name, device))


def against_mhsa(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """The time of our GPSA and of our own plain attention."""
    for (side, batch, target), name in product(sizes.against_mhsa):
        gpsa = GPSA(sizes.dim, sizes.num_heads).to(device)
        mhsa = MHSA(sizes.dim, sizes.num_heads, qkv_bias=False).to(device)
        x, grid = tokens_on_grid(sizes, side, batch, device)
        runs = [
            training_step(lambda layer=layer: layer(x, grid), [x, *layer.parameters()], PRECISIONS[name])  # noqa: B023
            for layer in (gpsa, mhsa)
        ]
        what = f"GPSA against our MHSA, n = {side * side}, batch {batch}, {name}"
        times = interleaved(runs, sizes.against_mhsa_effort, device)
        yield timed(what, *times, "MHSA", Target("ours/peer", "<=", target), bf16_note(name, device))


def kernel_choice(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """The attention core with the kernel of our choice, against the faster of fused and explicit; 5 % is noise."""
    for n in sizes.core_tokens:
        for name, dtype in PRECISIONS.items():
            batch, runs = core_runs(n, dtype, sizes.core_seconds, device)
            ours, *peers = interleaved(runs, sizes.core_effort, device)
            fused = median(peers[0]) <= median(peers[1])
            note = f"fused {quantity(median(peers[0]), 's')}, explicit {quantity(median(peers[1]), 's')}"
            note = "; ".join(filter(None, [note, bf16_note(name, device)]))
            what = f"kernel choice, n = {n}, batch {batch}, {name}"
            target = Target("ours/peer", "<=", 1.05)
            yield timed(what, ours, peers[0 if fused else 1], "fused" if fused else "explicit", target, note)


def peak_of_layers(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """The peak of extra memory in a forward and backward pass of our GPSA and of timm's, in fp32."""
    side, batch, target = sizes.memory
    ours, theirs = gpsa_pair(sizes, device)
    x, grid = tokens_on_grid(sizes, side, batch, device)
    peaks = []
    for forward, layer in ((lambda: ours(x, grid), ours), (lambda: theirs(x), theirs)):
        step = training_step(forward, [x, *layer.parameters()], torch.float32)
        step()  # what a layer keeps from its first run is not extra
        peaks.append(peak_memory(step, device))
    what = f"GPSA, peak memory against timm's, n = {side * side}, batch {batch}, fp32"
    yield Row(
        what=what, ours=peaks[0], peer=peaks[1], peer_name="timm", unit="B", ratio=peaks[0] / peaks[1],
        target=Target("ours/peer", "<=", target),
    )  # fmt: skip


def import_cost(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """Seconds that hybridvit adds to the import of torch and torchvision, each time in a new process."""
    python("-c", IMPORTS)
    extra, base = zip(*([float(s) for s in python("-c", IMPORTS)[1].split()] for _ in range(sizes.processes)))
    target = Target("ours", "<=", 0.3)
    yield timed("import hybridvit, after torch and torchvision", extra, base, "torch, torchvision", target)


def help_time(sizes: Sizes, device: torch.device) -> Iterator[Row]:
    """Wall time of ``hybridvit --help``."""
    command = ("-m", "hybridvit.cli", "--help")
    if "hybridvit" not in python(*command)[1]:
        raise LeftOut("python -m hybridvit.cli --help: prints no help")
    times = [python(*command)[0] for _ in range(2 * sizes.processes)]
    yield Row(what="hybridvit --help", ours=median(times), target=Target("ours", "<=", 1.0), pairs=len(times))


def gpsa_pair(sizes: Sizes, device: torch.device) -> tuple[GPSA, nn.Module]:
    """Our GPSA near its convolutional start, and timm's with the same weights.

    Raises:
        LeftOut: timm is not installed.
    """
    try:
        from timm.models.convit import GPSA as TimmGPSA
    except ImportError as error:
        installed = find_spec("timm") is not None
        why = f"timm cannot be used: {error}" if installed else "timm is not installed: pip install 'hybridvit[timm]'"
        raise LeftOut(why) from error
    ours, theirs = GPSA(sizes.dim, sizes.num_heads), TimmGPSA(sizes.dim, sizes.num_heads)
    query_key, value = ours.qkv.weight.split([2 * sizes.dim, sizes.dim])
    with torch.no_grad():
        for started in (value, ours.position, ours.gate):  # none of them symmetric
            started += 0.1 * torch.randn_like(started)
        theirs.qk.weight.copy_(query_key)
        theirs.v.weight.copy_(value)
        theirs.proj.load_state_dict(ours.proj.state_dict())
        theirs.pos_proj.weight.copy_(ours.position)
        theirs.gating_param.copy_(ours.gate)
    return ours.to(device), theirs.to(device)


def product(cases: Sequence[Case]) -> list[tuple[Case, str]]:
    """Every case in every precision."""
    return [(case, name) for case in cases for name in PRECISIONS]


def tokens_on_grid(sizes: Sizes, side: int, batch: int, device: torch.device) -> tuple[Tensor, tuple[int, int]]:
    """Random tokens that want a gradient, and their grid."""
    return torch.randn(batch, side * side, sizes.dim).to(device).requires_grad_(), (side, side)


def training_step(forward: Callable[[], Tensor], leaves: Sequence[Tensor], dtype: torch.dtype) -> Run:
    """A forward pass (under autocast where dtype is not fp32) and a backward pass; it leaves no gradients behind.

    ``leaves`` are the tensors that get a gradient; the first has the shape of the output.
    """
    gradient = torch.randn_like(leaves[0], dtype=dtype).detach()

    def step() -> None:
        with torch.autocast(gradient.device.type, dtype, enabled=dtype != torch.float32):
            out = forward()
        out.backward(gradient.to(out.dtype))
        for leaf in leaves:
            leaf.grad = None

    return step


def core_runs(n: int, dtype: torch.dtype, seconds: float, device: torch.device) -> tuple[int, list[Run]]:
    """The core of ``Attention.forward`` by our choice, fused, and explicit: (images in the batch, three steps).

    4 heads of 48, split from and merged into one tensor as in the layer. The batch is doubled until
    a step of our choice takes ``seconds``, or the attention matrix 256 MiB in fp32.
    """

    def ours(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        kernel = choose_kernel(q.device.type, q.dtype, q.shape[-2])
        return attend(q.to(kernel.dtype), k.to(kernel.dtype), v.to(kernel.dtype), kernel).to(q.dtype)

    def explicit(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention_scores(q, k) @ v

    def step(core: Callable[[Tensor, Tensor, Tensor], Tensor], qkv: Tensor, gradient: Tensor) -> Run:
        def run() -> None:
            merge_heads(core(*split_heads(qkv, 4))).backward(gradient)
            qkv.grad = None

        return run

    batch = 1
    while True:
        qkv = torch.randn(batch, n, 3 * 4 * 48).to(device, dtype).requires_grad_()
        gradient = torch.randn(batch, n, 4 * 48).to(device, dtype)
        runs = [step(core, qkv, gradient) for core in (ours, F.scaled_dot_product_attention, explicit)]
        if min(interleaved(runs[:1], Effort(2, 0.0), device)[0]) >= seconds or batch * 4 * n * n * 4 >= 2**28:
            return batch, runs
        batch *= 2


def interleaved(runs: Sequence[Run], effort: Effort, device: torch.device) -> list[list[float]]:
    """Seconds of every run, one after the other in every round; the rounds of the warm-up are not counted."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    began = time.perf_counter()
    while True:
        for run in runs:
            seconds_of(run, device)
        if time.perf_counter() - began >= effort.seconds / 10:
            break
    times: list[list[float]] = [[] for _ in runs]
    began = time.perf_counter()
    while len(times[0]) < effort.least or (
        len(times[0]) < effort.most and time.perf_counter() - began < effort.seconds
    ):
        for seconds, run in zip(times, runs):
            seconds.append(seconds_of(run, device))
    return times


def seconds_of(run: Run, device: torch.device) -> float:
    """Seconds of one run, with the work it left on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def timed(
    what: str, ours: Sequence[float], peer: Sequence[float], peer_name: str, target: Target, note: str = ""
) -> Row:
    """The row of paired times."""
    pairs = [(b, a) if target.of == "peer/ours" else (a, b) for a, b in zip(ours, peer, strict=True)]
    return Row(
        what=what, ours=median(ours), peer=median(peer), peer_name=peer_name, ratio=median(a / b for a, b in pairs),
        target=target, pairs=len(pairs), note=note,
    )  # fmt: skip


def bf16_note(precision: str, device: torch.device) -> str:
    """Says where a row in bf16 runs without the hardware for it."""
    return EMULATED if precision == "bf16" and device.type == "cpu" and not has_bf16_units() else ""


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of all tensors made under it that are still alive, and their ``peak``.

    Tensors saved for the backward pass are counted, buffers inside a kernel are not. In the layers
    measured here, the allocator (torch.profiler) sees the same peak to the byte; a test holds them together.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor):
                storage = x.untyped_storage()
                address, size = storage.data_ptr(), storage.nbytes()
                if size and address not in given and address not in self.live:
                    self.live[address] = size
                    self.now += size
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._free, address)
        return out

    def _free(self, address: int) -> None:
        self.now -= self.live.pop(address)


def peak_memory(run: Run, device: torch.device) -> int:
    """The most bytes that a run held at once, beyond what was there before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    with LiveMemory() as memory:
        run()
    return memory.peak


def python(*arguments: str) -> tuple[float, str]:
    """Runs this Python in a new process that finds this hybridvit: (seconds, what it printed).

    Raises:
        LeftOut: it failed.
    """
    paths = [str(Path(__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - began
    if done.returncode:
        what = "import hybridvit" if arguments[0] == "-c" else "python " + " ".join(arguments)
        raise LeftOut(f"{what}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return seconds, done.stdout


def quantity(value: float | None, unit: str) -> str:
    """A number and its unit, in three digits or so."""
    if value is None:
        return "-"
    if unit == "B":
        return f"{value / 2**20:.1f} MiB"
    if unit == "s":
        return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.3g} ms"
    return f"{value:.2g}"


def format_table(result: dict[str, Any]) -> str:
    """The result of :func:`run_bench` as aligned plain text, one line a row, with its notes below."""
    notes = list(dict.fromkeys(row["note"] for row in result["rows"] if row["note"]))
    lines = [("what", "ours", "peer", "ratio", "target", "reached", "pairs", "")]
    for row in result["rows"]:
        target = row["target"]
        unit = f" {row['unit']}" if target["of"] == "ours" and row["unit"] else ""
        lines.append((
            row["what"], quantity(row["ours"], row["unit"]), quantity(row["peer"], row["unit"]),
            "-" if row["ratio"] is None else f"{row['ratio']:.2f}",
            f"{target['of']} {target['sign']} {target['limit']:g}{unit}", "yes" if row["reached"] else "no",
            str(row["pairs"]), f"[{notes.index(row['note']) + 1}]" if row["note"] else "",
        ))  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*lines)]
    numbers = {1, 2, 3, 6}
    table = [
        "  ".join(cell.rjust(w) if i in numbers else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths)))
        for line in lines
    ]
    packages = ", ".join(f"{name} {result['versions'][name]}" for name in ("hybridvit", "torch", "timm"))
    head = f"{result['device']}; {packages}; {result['seconds']:.0f} s" + ("; quick" if result["quick"] else "")
    foot = [f"[{i}] {note}" for i, note in enumerate(notes, 1)] + [f"left out: {why}" for why in result["left_out"]]
    return "\n".join(line.rstrip() for line in [head, "", *table, *([""] if foot else []), *foot])
