"""Several heads on one trunk: what the machinery costs, what a head costs, and what a cache of features saves."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.bench.measure import DEVICE, Row, Run, row, timed
from hybridvit.bench.models import random_images
from hybridvit.bench.sizes import Sizes
from hybridvit.data.batch import Batch
from hybridvit.data.synthetic.dataset import ring_of_cameras
from hybridvit.hydra.balance.gradient_methods import PCGradConfig
from hybridvit.hydra.balance.kinds import BalanceConfig
from hybridvit.hydra.feature_cache import FeatureCache, FrozenTrunk
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.hydra.views import ViewsConfig
from hybridvit.models import create_backbone, create_model
from hybridvit.tasks.classification import ClassificationConfig, ClassificationTask
from hybridvit.training.accelerator import make_accelerator
from hybridvit.training.engine import TrainConfig, Trainer
from hybridvit.training.optimisers.kinds import AdamWConfig

CLASSES = 10
FUSIONS: tuple[Literal["attention", "bev"], ...] = ("attention", "bev")
STEPS = 10_000  # of the schedule; a bench takes far fewer


def machinery(sizes: Sizes) -> Iterator[Row]:
    """One head through tasks, balance and trainer against a classifier and a loop of six lines; four heads; PCGrad."""
    name, pixels, count = sizes.heads
    images = random_images(count, pixels)
    plain, one, four = classifier_step(name, images), update(name, images, 1), update(name, images, 4)
    pcgrad = update(name, images, 4, PCGradConfig())
    for what, limit, ours, peer, peer_name in (
        ("one head, against a plain classifier", 1.03, one, plain, "classifier"),
        ("four heads", 1.3, four, one, "one head"),
        ("PCGrad of four tasks", 2.5, pcgrad, four, "sum"),
    ):
        what = f"training step, {what}, {setting(name, images)}"
        yield timed(what, "ours/peer", limit, [ours, peer], peer_name, sizes.seconds.model, sizes.pairs)


def cached_features(sizes: Sizes) -> Iterator[Row]:
    """A step of one head from a cache on disk against the same step through the frozen trunk."""
    name, pixels, count = sizes.heads
    images = random_images(count, pixels)
    batch, index = labelled(images, 1), torch.arange(count)
    backbone = create_backbone(name, pixels).to(DEVICE).eval().requires_grad_(False)
    head = task(0).head(backbone.spec).to(DEVICE)
    alone, through = (trainer(HydraNet(trunk, {"task0": head})) for trunk in (FrozenTrunk(), backbone))
    with TemporaryDirectory() as folder:
        with torch.no_grad():
            cache = FeatureCache.write(Path(folder) / "cache", [backbone(images)], count)

        def from_cache() -> object:
            return alone.update(batch._replace(images=cache.read(index, DEVICE)))

        runs: list[Run] = [from_cache, partial(through.update, batch)]
        what = f"training step of one head from cached features, {setting(name, images)}"
        yield timed(what, "peer/ours", 20, runs, "trunk", sizes.seconds.model, sizes.pairs)


def missing_camera(sizes: Sizes) -> Iterator[Row]:
    """Outputs with a camera masked against those of the same net without it."""
    shapes = dict.fromkeys(("front", "left", "rear", "right"), (3, 32, 48))
    rig = ring_of_cameras(len(shapes), (32, 48))
    for fusion in FUSIONS:
        config = ViewsConfig(fusion=fusion, grid=(4, 4), embed_dim=32)
        backbone = config.build(ResNetConfig(depths=(1, 1), width=8), shapes, rig).to(DEVICE).eval()
        views = {view: torch.randn(4, *shape).to(DEVICE) for view, shape in shapes.items()}
        present = {view: torch.full((4,), view != "rear", device=DEVICE) for view in views}
        with torch.no_grad():
            hidden = backbone({**views, "rear": torch.full_like(views["rear"], torch.nan)}, present).fused.tokens
            without = backbone({view: v for view, v in views.items() if view != "rear"}).fused.tokens
        difference = (hidden - without).abs().max().item()
        what = f"difference of the outputs, a masked camera of NaN against none, fusion by {fusion}"
        yield row(what, "ours", 1e-6, [difference], name="without", unit="")


def task(number: int) -> ClassificationTask:
    """One of several tasks with columns of their own."""
    names = [str(index) for index in range(CLASSES)]
    return ClassificationTask(f"task{number}", names, ClassificationConfig(target=f"label{number}"))


def labelled(images: Tensor, tasks: int) -> Batch:
    """Images with a random label for every task."""
    targets = {f"label{number}": torch.randint(CLASSES, (len(images),)).to(DEVICE) for number in range(tasks)}
    return Batch(images, targets)


def update(name: str, images: Tensor, tasks: int, balance: BalanceConfig | None = None) -> Run:
    """A training step of a fresh trunk with so many heads."""
    backbone = create_backbone(name, images.shape[-1])
    heads = {f"task{number}": task(number).head(backbone.spec) for number in range(tasks)}
    return partial(trainer(HydraNet(backbone, heads), balance).update, labelled(images, tasks))


def trainer(net: HydraNet, balance: BalanceConfig | None = None) -> Trainer:
    """The trainer of a net, ready for single updates."""
    tasks = {f"task{number}": task(number) for number in range(len(net.heads))}
    nothing: Any = ()  # an update is handed its batch
    config, accelerator = TrainConfig(steps=STEPS, precision="fp32"), make_accelerator("fp32", cpu=DEVICE.type == "cpu")
    made = Trainer(net, tasks, config, AdamWConfig(), nothing, balance=balance, accelerator=accelerator)
    made.net.train()
    return made


def classifier_step(name: str, images: Tensor) -> Run:
    """Forward, cross entropy, backward, clipping, AdamW and schedule, written out."""
    model = create_model(name, CLASSES, images.shape[-1]).to(DEVICE).train()
    optim = AdamWConfig()
    optimiser = optim.build(model)
    schedule = optim.build_schedule(optimiser, STEPS)
    labels = torch.randint(CLASSES, (len(images),)).to(DEVICE)
    parameters = list(model.parameters())

    def run() -> None:
        F.cross_entropy(model(images), labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)

    return run


def setting(name: str, images: Tensor) -> str:
    """How a pair is timed, for the name of its row."""
    return f"{name}, {images.shape[-1]} px, batch {len(images)}, fp32"
