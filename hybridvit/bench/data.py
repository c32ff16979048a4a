"""Small images: augmenting them against worker processes, and what it costs a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from hybridvit.bench.heads import CLASSES, setting, task, trainer
from hybridvit.bench.measure import DEVICE, Row, timed
from hybridvit.bench.sizes import Sizes
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.loaders.device_loader import DeviceLoader, Normalisation, TrainingData
from hybridvit.data.loaders.sampling import BatchSampler, SamplingConfig
from hybridvit.data.samples import ONE_VIEW, Column, Samples
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.models import create_backbone

AUGMENTATION = AugmentConfig(crop_padding=4, flip=True, policy="trivial", erasing=0.25)
NORMALISATION = Normalisation((0.49, 0.48, 0.45), (0.25, 0.24, 0.26))


def augmentation(sizes: Sizes) -> Iterator[Row]:
    """Batches of our loader against those of torchvision in worker processes, one for each thread."""
    _, pixels, batch, number = sizes.small
    samples = random_samples(number, pixels)
    loader, workers = device_loader(samples, batch), torch.get_num_threads()
    peer_loader = torchvision_loader(samples, batch, workers)

    def device_batches() -> None:
        for step in range(number // batch):
            loader.batch(step)

    def peer_batches() -> None:
        for images in peer_loader:
            images.to(DEVICE)

    what = f"augmentation of {number} images, {pixels} px, batch {batch}, against torchvision in worker processes"
    note = f"{workers} worker processes, as many as threads of ours"
    runs = [device_batches, peer_batches]
    yield timed(what, "peer/ours", 5, runs, "DataLoader", sizes.seconds.core, sizes.pairs, note)


def fed_step(sizes: Sizes) -> Iterator[Row]:
    """A training step with the next batch of our loader against one with a constant batch."""
    name, pixels, batch, number = sizes.small
    source, steps = device_loader(random_samples(number, pixels), batch), count()
    together = source.ahead  # steps that are measured as one, for their batches are made as one
    backbone = create_backbone(name, pixels)
    update = trainer(HydraNet(backbone, {"task0": task(0).head(backbone.spec)})).update
    constant = source.batch(0)

    def fed() -> None:
        for _ in range(together):
            update(source.batch(next(steps)))

    def unfed() -> None:
        for _ in range(together):
            update(constant)

    what = f"{together} training steps" if together > 1 else "training step"
    what = f"{what} with augmentation, {setting(name, constant.images)}"
    yield timed(what, "ours/peer", 1.1, [fed, unfed], "constant batch", sizes.seconds.model, sizes.pairs)


def random_samples(number: int, pixels: int) -> Samples:
    """So many images of noise, with a random label for the first of the tasks."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (number, 3, pixels, pixels), dtype=np.uint8)
    return Samples({ONE_VIEW: images}, {"label0": rng.integers(0, CLASSES, number)})


def device_loader(samples: Samples, batch: int) -> DeviceLoader:
    """The loader of a training run, with the augmentation that is measured."""
    sampler = BatchSampler(samples.sources, batch, 0, SamplingConfig())
    columns = {"label0": Column("class", tuple(str(index) for index in range(CLASSES)))}
    data = TrainingData(samples, columns, {ONE_VIEW: NORMALISATION}, AUGMENTATION, sampler, 0, DEVICE)
    return DeviceLoader(data)


def torchvision_loader(samples: Samples, batch: int, workers: int) -> DataLoader[Tensor]:
    """The same augmentation and normalisation by torchvision, image by image, in worker processes."""
    images = torch.from_numpy(samples.views[ONE_VIEW])
    transform = v2.Compose(
        (
            v2.RandomCrop(images.shape[-1], padding=AUGMENTATION.crop_padding),
            v2.RandomHorizontalFlip(),
            v2.TrivialAugmentWide(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(NORMALISATION.mean, NORMALISATION.std),
            v2.RandomErasing(AUGMENTATION.erasing),
        )
    )
    return DataLoader(
        images,  # type: ignore[arg-type]  # a tensor serves as a data set
        batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=partial(transformed, transform),
    )


def transformed(transform: Callable[[Tensor], Tensor], images: list[Tensor]) -> Tensor:
    """A batch of images, each transformed by itself."""
    return torch.stack([transform(image) for image in images])
