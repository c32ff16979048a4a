"""Several heads on one trunk: what the machinery costs, what a head costs, and what a cache of features saves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.bench.measure import DEVICE, Row, Run, interleaved, row
from hybridvit.bench.models import random_images
from hybridvit.bench.sizes import Sizes
from hybridvit.data.batch import Batch
from hybridvit.data.synthetic.dataset import ring_of_cameras
from hybridvit.hydra.balance.base import SumConfig
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
    """One head through tasks, balance and trainer against a classifier and a loop of six lines; then four heads."""
    name, pixels, count = sizes.heads
    images = random_images(count, pixels)
    one, four, plain = trainer(sizes, 1), trainer(sizes, 4), classifier_step(name, images)
    batch, batches = labelled(images, 1), labelled(images, 4)
    what = f"training step, one head, against a plain classifier, {setting(name, images)}"
    ours, peer = interleaved([lambda: one.update(batch), plain], sizes.seconds.model, sizes.pairs)
    yield row(what, "ours/peer", 1.03, ours, peer, "classifier")
    what = f"training step, four heads, {setting(name, images)}"
    ours, peer = interleaved(
        [lambda: four.update(batches), lambda: one.update(batch)], sizes.seconds.model, sizes.pairs
    )
    yield row(what, "ours/peer", 1.3, ours, peer, "one head")


def gradient_balancing(sizes: Sizes) -> Iterator[Row]:
    """PCGrad of four tasks against the plain sum of their losses."""
    name, pixels, count = sizes.heads
    images = random_images(count, pixels)
    batch = labelled(images, 4)
    pcgrad, plain = trainer(sizes, 4, PCGradConfig()), trainer(sizes, 4)
    runs: list[Run] = [lambda: pcgrad.update(batch), lambda: plain.update(batch)]
    ours, peer = interleaved(runs, sizes.seconds.model, sizes.pairs)
    what = f"training step, PCGrad of four tasks, {setting(name, images)}"
    yield row(what, "ours/peer", 2.5, ours, peer, "sum")


def cached_features(sizes: Sizes) -> Iterator[Row]:
    """A step of one head from a cache on disk against the same step through the frozen trunk."""
    name, pixels, count = sizes.heads
    images = random_images(count, pixels)
    batch = labelled(images, 1)
    backbone = create_backbone(name, pixels).to(DEVICE).eval().requires_grad_(False)
    head = task(0).head(backbone.spec).to(DEVICE)
    through, alone = HydraNet(backbone, {"task0": head}), HydraNet(FrozenTrunk(), {"task0": head})
    index = torch.arange(len(images))
    with TemporaryDirectory() as folder, torch.no_grad():
        cache = FeatureCache.write(Path(folder) / "cache", [backbone(images)], len(images))
        trainers = [trainer_of(net, 1, SumConfig()) for net in (alone, through)]

        def from_cache() -> object:
            return trainers[0].update(batch._replace(images=cache.read(index, DEVICE)))

        with torch.enable_grad():
            runs: list[Run] = [from_cache, lambda: trainers[1].update(batch)]
            ours, peer = interleaved(runs, sizes.seconds.model, sizes.pairs)
    yield row(
        f"training step of one head from cached features, {setting(name, images)}", "peer/ours", 20, ours, peer, "trunk"
    )


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


def trainer(sizes: Sizes, tasks: int, balance: BalanceConfig | None = None) -> Trainer:
    """A trainer of a fresh trunk with so many heads."""
    name, pixels, _ = sizes.heads
    backbone = create_backbone(name, pixels)
    heads = {f"task{number}": task(number).head(backbone.spec) for number in range(tasks)}
    return trainer_of(HydraNet(backbone, heads), tasks, balance or SumConfig())


def trainer_of(net: HydraNet, tasks: int, balance: BalanceConfig) -> Trainer:
    """The trainer of a net, ready for single updates."""
    every = {f"task{number}": task(number) for number in range(tasks)}
    config, nothing = TrainConfig(steps=STEPS, precision="fp32"), _Nothing()
    accelerator = make_accelerator("fp32", cpu=DEVICE.type == "cpu")
    made = Trainer(net, every, config, AdamWConfig(), nothing, nothing, balance=balance, accelerator=accelerator)
    made.net.train()
    return made


class _Nothing:
    """Data of a trainer that is handed its batches."""

    def batch(self, step: int) -> Batch:
        """There is none."""
        raise AssertionError(step)

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Any:
        return iter(())


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
