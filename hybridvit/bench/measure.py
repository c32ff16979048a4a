"""One row of the bench: interleaved times, and the target that decides whether they are good enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import util
from statistics import median
from typing import Any

import torch
from torch import nn

from hybridvit.backbones.weights import load_weights
from hybridvit.layers import attention

Row = dict[str, Any]
Run = Callable[[], object]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
EMULATED = DEVICE.type == "cpu" and not attention.has_bf16_units()
NOTES = {"fp32": "", "bf16": "bf16 is emulated here: this CPU has no bf16 matrix units" if EMULATED else ""}
synchronize: Run = torch.cuda.synchronize if DEVICE.type == "cuda" else lambda: None


class LeftOut(Exception):
    """Why rows cannot be measured here."""


def require_timm() -> None:
    """LeftOut where there is no timm."""
    if util.find_spec("timm") is None:
        raise LeftOut("timm is not installed: pip install 'hybridvit[timm]'")


def same_weights(ours: nn.Module, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    """Our model or layer with the weights of timm's, which are changed so that tiny ones hide no difference."""
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    load_weights(ours, theirs.state_dict())
    return ours.to(DEVICE), theirs.to(DEVICE)


def autocast(precision: str) -> torch.autocast:
    """The context in which a forward pass runs; it changes nothing in fp32."""
    return torch.autocast(DEVICE.type, DTYPES[precision], enabled=precision != "fp32")


def row(
    what: str,
    of: str,
    limit: float,
    ours: Sequence[float],
    peer: Sequence[float] = (),
    name: str = "",
    unit: str = "s",
    note: str = "",
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


def timed(
    what: str, of: str, limit: float, runs: Sequence[Run], name: str, seconds: float, pairs: int, note: str = ""
) -> Row:
    """One measurement of the times of two runs, ours and the peer's."""
    ours, peer = interleaved(runs, seconds, pairs)
    return row(what, of, limit, ours, peer, name, note=note)


def interleaved(runs: Sequence[Run], seconds: float, pairs: int) -> list[list[float]]:
    """The seconds of each run in every round: until there are enough and the time is up, after one to warm up.

    Every other round goes backwards, as the state in which a run leaves caches and memory costs the next one.
    """
    rounds: list[list[float]] = []
    began = time.perf_counter()
    while len(rounds) <= pairs or time.perf_counter() - began < seconds:
        times = [0.0] * len(runs)
        for index, run in list(enumerate(runs))[:: -1 if len(rounds) % 2 else 1]:
            synchronize()
            start = time.perf_counter()
            run()
            synchronize()
            times[index] = time.perf_counter() - start
        rounds.append(times)
    return [list(column) for column in zip(*rounds[1:], strict=True)]
