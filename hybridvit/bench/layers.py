"""Attention layers: a forward and backward pass with gradients for the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from statistics import median

import torch
from torch import Tensor, nn

from hybridvit.bench.measure import (
    DEVICE,
    DTYPES,
    NOTES,
    Row,
    Run,
    autocast,
    interleaved,
    require_timm,
    row,
    same_weights,
    timed,
)
from hybridvit.bench.memory import peak_memory
from hybridvit.bench.sizes import Cases, Sizes
from hybridvit.layers import GPSA, MHSA, attention

Layers = Sequence[nn.Module]


def gpsa_against_timm(sizes: Sizes) -> Iterator[Row]:
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
    yield from layer_times(sizes, layers, sizes.timm, sizes.seconds.timm, "peer/ours", "timm")


def gpsa_against_mhsa(sizes: Sizes) -> Iterator[Row]:
    """The times of our GPSA and of our plain attention."""
    layers = [kind(sizes.dim, sizes.num_heads, qkv_bias=False).to(DEVICE) for kind in (GPSA, MHSA)]
    yield from layer_times(sizes, layers, sizes.mhsa, sizes.seconds.mhsa, "ours/peer", "MHSA")


def layer_times(sizes: Sizes, layers: Layers, cases: Cases, seconds: float, of: str, name: str) -> Iterator[Row]:
    """The times of our GPSA and of its peer, on every case in fp32 and under bf16 autocast."""
    for (side, batch, limit), precision in product(cases, DTYPES):
        x = torch.randn(batch, side * side, sizes.dim).to(DEVICE).requires_grad_()
        runs = layer_runs(layers, x, (side, side), precision)
        what = f"GPSA against {name}, n = {side * side}, batch {batch}, {precision}"
        yield timed(what, of, limit, runs, name, seconds, sizes.pairs, NOTES[precision])


def kernel_choice(sizes: Sizes) -> Iterator[Row]:
    """The core of our attention with the kernel it chooses, and with the faster of the two; 5 % is noise."""
    for n, precision in product(sizes.core_tokens, DTYPES):
        dtype = DTYPES[precision]
        chosen = attention.choose_kernel(DEVICE.type, dtype, n)
        peers = [attention.Kernel(fused, dtype) for fused in (True, False)]
        kernels = list(dict.fromkeys([*peers, chosen]))
        batch = 1
        while (
            batch * n * n < 2**24 and min(interleaved(core_runs(n, batch, dtype, [chosen]), 0, 2)[0]) < sizes.core_run
        ):
            batch *= 2
        runs = core_runs(n, batch, dtype, kernels)
        times = dict(zip(kernels, interleaved(runs, sizes.seconds.core, sizes.pairs), strict=True))
        best = min(peers, key=lambda kernel: median(times[kernel]))
        what = f"attention core, choice against best, n = {n}, batch {batch}, {precision}"
        name = "fused" if best.fused else "explicit"
        yield row(what, "ours/peer", 1.05, times[chosen], times[best], name, note=NOTES[precision])


def gpsa_pair(sizes: Sizes) -> tuple[nn.Module, nn.Module]:
    """Our GPSA near its convolutional initialisation, and timm's with the same weights; LeftOut without timm."""
    require_timm()
    from timm.models import convit

    theirs = convit.GPSA(sizes.dim, sizes.num_heads)
    theirs.local_init()
    return same_weights(GPSA(sizes.dim, sizes.num_heads, qkv_bias=False), theirs)


def layer_runs(layers: Layers, x: Tensor, grid: tuple[int, int], precision: str) -> list[Run]:
    """A forward pass (under autocast in bf16) and a backward pass of each layer, leaving no gradients behind."""
    gradient = torch.randn(x.shape).to(DEVICE, DTYPES[precision])

    def run(layer: nn.Module) -> None:
        with autocast(precision):
            out = layer(x, grid) if isinstance(layer, attention.Attention) else layer(x)
        out.backward(gradient)
        x.grad = None
        layer.zero_grad()

    return [partial(run, layer) for layer in layers]


def core_runs(n: int, batch: int, dtype: torch.dtype, kernels: Sequence[attention.Kernel]) -> list[Run]:
    """What attention does between its projections (4 heads of 48), forward and backward, with each kernel."""
    qkv = torch.randn(batch, n, 3 * 4 * 48).to(DEVICE, dtype).requires_grad_()
    gradient = torch.randn(batch, n, 4 * 48).to(DEVICE, dtype)

    def run(kernel: attention.Kernel) -> None:
        q, k, v = (x.to(kernel.dtype) for x in attention.split_heads(qkv, 4))
        attention.merge_heads(attention.attend(q, k, v, kernel).to(dtype)).backward(gradient)
        qkv.grad = None

    return [partial(run, kernel) for kernel in kernels]
