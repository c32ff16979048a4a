"""Runs of a study, against the same runs one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.bench.measure import Row, interleaved, row
from hybridvit.bench.sizes import Sizes
from hybridvit.data.load import DataConfig
from hybridvit.recipe import Recipe
from hybridvit.runs.run import Run
from hybridvit.studies.cells import Cell
from hybridvit.studies.launch import launch
from hybridvit.studies.study import LaunchConfig
from hybridvit.studies.time_limit import TimeLimit
from hybridvit.training.engine import TrainConfig

VIT = ViTConfig(embed_dim=64, depth=2, num_heads=4, mlp_ratio=1.0, tokenizer=PatchConfig(patch_size=2), pooling="mean")


def runs_per_minute(sizes: Sizes) -> Iterator[Row]:
    """Runs of the digits study's ViT in the study's workers, against a plain loop over the same runs."""
    number, steps, workers = sizes.study
    train = TrainConfig(steps=steps, batch_size=48, precision="fp32", ema=0.98, log_every=steps)
    base = {"name": "bench", "model": VIT, "data": DataConfig(validation=0.0), "train": train}
    recipes = [Recipe(**base, seed=seed) for seed in range(number)]  # type: ignore[arg-type]
    cells = [Cell(("ViT",), recipe.seed, recipe, "ViT", "bench") for recipe in recipes]
    config = LaunchConfig(workers=workers)

    def in_workers() -> None:
        for _, result in launch(cells, config, lambda cell: None, TimeLimit(None)):
            assert "error" not in result, result["error"]

    def plain_loop() -> None:
        for recipe in recipes:
            Run(recipe).fit()

    ours, peer = interleaved([in_workers, plain_loop], 0, sizes.pairs)
    per_minute = [60 * number / median(seconds) for seconds in (ours, peer)]
    note = f"{per_minute[0]:.0f} runs per minute against {per_minute[1]:.0f}, {steps} steps each"
    what = f"study: runs per minute, against the plain loop, {number} runs"
    yield row(what, "peer/ours", 1.4, ours, peer, "plain loop", note=note)
