"""What the bench measures, and for how long."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Cases = tuple[tuple[int, int, float], ...]  # side of the grid, batch, limit of the target


@dataclass(frozen=True)
class ModelCase:
    """A model of ours and timm's of the same architecture; a limit of None is a row that is not measured.

    Attributes:
        name: our model.
        timm: timm's name for it.
        pixels: side of the images.
        batch: images in a training step; one that is compiled takes ``Sizes.compiled_batch``.
        of: the ratio of the times that is bounded: "peer/ours" from below, "ours/peer" from above.
        fp32, bf16: limits of that ratio on the CPU.
        compiled: limit of that ratio on a CUDA device, in bf16 with both models compiled.
        memory: limit of the ratio of the peaks of memory, ours/peer.
    """

    name: str
    timm: str
    pixels: int
    batch: int
    of: Literal["peer/ours", "ours/peer"]
    fp32: float | None = None
    bf16: float | None = None
    compiled: float | None = None
    memory: float | None = None


MODELS = (
    ModelCase("convit_tiny", "convit_tiny", 224, 8, "peer/ours", 1.5, 1.9, 2),
    ModelCase("convit_small", "convit_small", 224, 4, "peer/ours", 1.5, 1.9, 2, memory=0.5),
    ModelCase("convit_tiny", "convit_tiny", 384, 8, "peer/ours", 3),
    ModelCase("vit_tiny_16", "vit_tiny_patch16_224", 224, 8, "ours/peer", 1.05, compiled=1.05),
    ModelCase("deit_tiny_distilled", "deit_tiny_distilled_patch16_224", 224, 8, "ours/peer", 1.05, compiled=1.05),
    ModelCase("cait_xxs24", "cait_xxs24_224", 224, 8, "ours/peer", 1.05, compiled=1.05),
)


@dataclass(frozen=True)
class Seconds:
    """How long the runs of one row go on, in seconds."""

    timm: float = 10
    mhsa: float = 5
    core: float = 2
    model: float = 10


@dataclass(frozen=True)
class Sizes:
    """What is measured, and for how long; the defaults are the full bench."""

    dim: int = 432
    num_heads: int = 9
    timm: Cases = ((14, 64, 3), (24, 16, 7))
    mhsa: Cases = ((14, 16, 1.25), (24, 4, 1.25))
    core_tokens: tuple[int, ...] = (49, 64, 196, 576, 1024)
    core_run: float = 0.01  # seconds; the batch is doubled until a run takes as long
    memory: tuple[int, int, float] = (24, 4, 0.25)
    models: tuple[ModelCase, ...] = MODELS
    compiled_batch: int = 128
    # A ConViT, the side of its images in pixels, limit of: time of a DeiT of the same width and heads / its time.
    deit: tuple[tuple[str, int, float], ...] = (("convit_tiny", 224, 0.9), ("convit_small", 224, 0.9))
    # A model, how many of its last blocks, sides of its grids, limit of: memory per token on the worst of the other
    # grids / on the first. All twelve blocks would show the same, in three times the time.
    growth: tuple[str, int, tuple[int, ...], float] = ("convit_small", 4, (14, 28, 56), 1.25)
    heads: tuple[str, int, int] = ("vit_tiny_16", 224, 8)  # a trunk, the side of its images in pixels, batch
    # A model for small images, the side of these in pixels, batch, images that are augmented in one go.
    small: tuple[str, int, int, int] = ("vit_lite_7_4", 32, 128, 2048)
    # Runs of a study, steps of each, and processes; None: one for each core.
    study: tuple[int, int, int | None] = (8, 100, None)
    seconds: Seconds = Seconds()
    pairs: int = 3  # for every row at least
    processes: int = 5


QUICK = Sizes(
    timm=((14, 8, 3), (24, 4, 7)),
    mhsa=((14, 8, 1.25), (24, 2, 1.25)),
    models=tuple(replace(case, batch=2) for case in MODELS if case.pixels == 224),
    compiled_batch=32,
    growth=("convit_small", 4, (14, 28), 1.25),
    heads=("vit_tiny_16", 224, 2),
    small=("vit_lite_7_4", 32, 32, 512),
    study=(4, 20, None),
    seconds=Seconds(1, 1, 0.4, 1),
    pairs=2,
    processes=1,
)
