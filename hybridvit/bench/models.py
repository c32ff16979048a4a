"""Whole models: forward and backward in training mode of the sum of the logits, without an optimiser.

On a CUDA device both models of a pair are compiled; on a CPU neither is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from hybridvit.backbones.vit import ViTConfig
from hybridvit.bench.measure import DEVICE, NOTES, Row, Run, autocast, require_timm, row, same_weights, timed
from hybridvit.bench.memory import peak_memory
from hybridvit.bench.sizes import ModelCase, Sizes
from hybridvit.layers.tokenizers.patch import PatchConfig
from hybridvit.models import create_model, model_config

COMPILED = DEVICE.type == "cuda"


def models_against_timm(sizes: Sizes) -> Iterator[Row]:
    """Our models and timm's with the same weights: logits, peaks of extra memory (both in fp32), and times."""
    require_timm()
    for case in sizes.models:
        targets = {"bf16": case.compiled} if COMPILED else {"fp32": case.fp32, "bf16": case.bf16}
        limits = {precision: limit for precision, limit in targets.items() if limit is not None}
        if not limits and case.memory is None:
            continue
        pair = model_pair(case)
        against = f"{case.name} against timm, {case.pixels} px"
        images = random_images(case.batch, case.pixels)
        difference = logit_difference(pair, images[:2])
        yield row(f"difference of the logits, {against}, fp32", "ours", 1e-5, [difference], name="timm", unit="")
        if case.memory is not None:
            what = f"peak memory of a training step, {against}, batch {case.batch}, fp32"
            peaks = [peak_memory(training_step(model, images, "fp32")) for model in pair]
            yield row(what, "ours/peer", case.memory, peaks[:1], peaks[1:], "timm", "B")
        if COMPILED:
            images = random_images(sizes.compiled_batch, case.pixels)
        for precision, limit in limits.items():
            compile_both(pair)
            runs = [training_step(model, images, precision) for model in pair]
            what = f"training step, {against}, {setting(len(images), precision)}"
            yield timed(what, case.of, limit, runs, "timm", sizes.seconds.model, sizes.pairs, NOTES[precision])


def convit_against_deit(sizes: Sizes) -> Iterator[Row]:
    """The times of our ConViTs and of our DeiTs of their width and heads, compiled: only on a CUDA device."""
    for name, pixels, limit in sizes.deit if COMPILED else ():
        convit = vit_config(name)
        deit = ViTConfig(embed_dim=convit.embed_dim, num_heads=convit.num_heads, depth=convit.depth)
        pair = [create_model(config, image_size=pixels).to(DEVICE) for config in (convit, deit)]
        images = random_images(sizes.compiled_batch, pixels)
        for what, kind in (("inference", inference), ("training step", training_step)):
            compile_both(pair)
            runs = [kind(model, images, "bf16") for model in pair]
            what = f"{what}, {name} against our DeiT, {pixels} px, {setting(len(images), 'bf16')}"
            yield timed(what, "peer/ours", limit, runs, "DeiT", sizes.seconds.model, sizes.pairs, NOTES["bf16"])


def memory_growth(sizes: Sizes) -> Iterator[Row]:
    """The peak of a training step per token, on larger grids against the first one.

    Every grid has as many images as make the same number of tokens, so that gradients of weights, which do not
    depend on the tokens, weigh the same on each. What grows with the square of a grid's cells weighs 16 times as
    much per token on 56x56 as on 14x14.
    """
    name, depth, sides, limit = sizes.growth
    config = last_blocks(vit_config(name), depth)
    assert isinstance(config.tokenizer, PatchConfig)
    tokens = max(sides) ** 2
    peaks = []
    for side in sides:
        pixels = side * config.tokenizer.patch_size
        images = random_images(tokens // side**2, pixels)
        step = training_step(create_model(config, image_size=pixels).to(DEVICE), images, "fp32")
        peaks.append(peak_memory(step) / tokens)
    first, *larger = (f"{side}x{side}" for side in sides)
    grids = f"grid {' and '.join(larger)} against {first}"
    what = f"peak memory per token, last {depth} blocks of {name}, {grids}, {tokens} tokens, fp32"
    yield row(what, "ours/peer", limit, [max(peaks[1:])], peaks[:1], first, "B")


def vit_config(name: str) -> ViTConfig:
    """The configuration of a named vision transformer."""
    config = model_config(name)
    assert isinstance(config, ViTConfig)
    return config


def last_blocks(config: ViTConfig, depth: int) -> ViTConfig:
    """The configuration with only so many of its last blocks, its class token before the same one of them."""
    entry = max(config.class_token_layer - (config.depth - depth), 0)
    return replace(config, depth=depth, attention=config.layer_attention[-depth:], class_token_layer=entry)


def model_pair(case: ModelCase) -> tuple[nn.Module, nn.Module]:
    """Our model and timm's with the same weights."""
    import timm

    theirs = timm.create_model(case.timm, img_size=case.pixels)
    return same_weights(create_model(case.name, image_size=case.pixels), theirs)


def random_images(batch: int, pixels: int) -> Tensor:
    """Square images ``[batch, 3, pixels, pixels]``."""
    return torch.randn(batch, 3, pixels, pixels).to(DEVICE)


def logit_difference(pair: Sequence[nn.Module], images: Tensor) -> float:
    """The largest difference of the two models' logits, as a share of the largest logit of the second."""
    with torch.no_grad():
        ours, theirs = (model.eval()(images) for model in pair)
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def compile_both(pair: Sequence[nn.Module]) -> None:
    """Compiles a pair of models, but on a CPU leaves them as they are."""
    if COMPILED:
        torch.compiler.reset()  # the code kept for earlier models counts towards a limit, beyond which none is compiled
        for model in pair:
            model.compile()


def setting(batch: int, precision: str) -> str:
    """How a pair is timed, for the name of its row."""
    return f"batch {batch}, {precision}{', compiled' if COMPILED else ''}"


def training_step(model: nn.Module, images: Tensor, precision: str) -> Run:
    """A forward pass (under autocast in bf16) and a backward pass in training mode, leaving no gradients behind."""
    model.train()

    def run() -> None:
        with autocast(precision):
            total = model(images).sum()
        total.backward()
        model.zero_grad()

    return run


def inference(model: nn.Module, images: Tensor, precision: str) -> Run:
    """A forward pass in evaluation mode, under autocast in bf16."""
    model.eval()

    def run() -> None:
        with torch.no_grad(), autocast(precision):
            model(images)

    return run
