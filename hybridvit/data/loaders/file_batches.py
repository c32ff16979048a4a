"""What worker processes do: read the images of a batch from their files and augment them one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hybridvit.data.augment.config import AugmentConfig
from hybridvit.data.augment.transforms import PLACED, augment
from hybridvit.data.file_images import FileImages, Images
from hybridvit.data.loaders.sampling import seed_of
from hybridvit.data.samples import ONE_VIEW, Column, Samples

STREAM = 4  # of random numbers; 0 and 1 are those of the sampler and of images in memory

Key = tuple[int, NDArray[np.int64]]  # a step, and the samples of its batch


class Read(NamedTuple):
    """What a worker gives for a batch.

    Attributes:
        rows: its samples, ``[b]``.
        views: view name -> ``[b, c, h, w]`` uint8.
        placed: target column -> ``[b, ...]``, for targets that moved with the pixels.
        wrong: why there is no batch; empty: there is one.
    """

    rows: Tensor
    views: dict[str, Tensor]
    placed: dict[str, Tensor]
    wrong: str = ""


class FileBatches(Dataset[Read]):
    """The batches by step and samples, as workers read them: a function of these and the seed alone.

    A single view is augmented image by image: by torchvision's transforms, or, where targets move with the pixels, as
    images in memory are.

    Args:
        samples: images on disk with their targets.
        columns: what the targets hold.
        augmentation: what is done to images before they are normalised; None: nothing.
        seed: of the augmentation.
    """

    def __init__(
        self, samples: Samples, columns: Mapping[str, Column], augmentation: AugmentConfig | None, seed: int
    ) -> None:
        self.views = dict(samples.views)
        self.columns = {name: column for name, column in columns.items() if column.kind in PLACED}
        self.targets = {name: samples.targets[name] for name in self.columns if name in samples.targets}
        self.augmentation = augmentation if self.views.keys() == {ONE_VIEW} else None
        config = self.augmentation
        if config is not None and not (config.crop_padding or config.flip or config.policy != "none"):
            self.augmentation = None
        self.transform: Any = None  # torchvision's, made here so that forked workers need not import it
        if self.augmentation is not None and not self.targets:
            self.transform = _transform(self.augmentation, self.views[ONE_VIEW].shape[2:])
        self.seed = seed

    def __getitem__(self, key: Key) -> Read:
        step, rows = key
        drawn = torch.from_numpy(rows)
        try:
            views = {view: _pixels(images, rows) for view, images in self.views.items()}
        except ValueError as error:
            return Read(drawn, {}, {}, str(error))  # a worker's exception would come with its traceback
        placed = {name: torch.from_numpy(values[rows]) for name, values in self.targets.items()}
        if self.augmentation is None:
            return Read(drawn, views, placed)
        images = views[ONE_VIEW]
        seeds = [seed_of(STREAM, self.seed, step, position) for position in range(len(rows))]
        if self.transform is not None:
            return Read(drawn, {ONE_VIEW: _transformed(images, self.transform, seeds)}, {})
        done = [
            augment(
                images[position, None],
                {name: values[position, None] for name, values in placed.items()},
                self.columns,
                self.augmentation,
                torch.Generator().manual_seed(seed),
            )
            for position, seed in enumerate(seeds)
        ]
        moved = {name: torch.cat([targets[name] for _, targets in done]) for name in placed}
        return Read(drawn, {ONE_VIEW: torch.cat([image for image, _ in done])}, moved)


def _pixels(images: Images, rows: NDArray[np.int64]) -> Tensor:
    """The pixels of some images, ``[b, c, h, w]``; repeated ones are read once."""
    different, where = np.unique(rows, return_inverse=True)
    if isinstance(images, FileImages):
        return torch.from_numpy(np.stack([images.read_one(row) for row in different])[where])
    return torch.from_numpy(images[rows])


def _transformed(images: Tensor, transform: Callable[[Tensor], Tensor], seeds: list[int]) -> Tensor:
    """Images ``[b, c, h, w]`` augmented one by one, each from its own seed."""
    done = torch.empty_like(images)
    with torch.random.fork_rng(devices=[]):  # torchvision draws from the process's own generator
        for position, seed in enumerate(seeds):
            torch.random.default_generator.manual_seed(seed)
            done[position] = transform(images[position])
    return done


def _transform(config: AugmentConfig, size: tuple[int, ...]) -> Any:
    """torchvision's transforms of one image of this height and width."""
    from torchvision.transforms import v2

    steps: list[Any] = []
    if config.crop_padding:
        mode = "reflect" if config.crop_fill == "reflect" else "constant"
        steps.append(v2.RandomCrop(size, padding=config.crop_padding, padding_mode=mode))
    if config.flip:
        steps.append(v2.RandomHorizontalFlip())
    if config.policy == "trivial":
        steps.append(v2.TrivialAugmentWide())
    elif config.policy == "rand":
        steps.append(v2.RandAugment(num_ops=config.rand_ops, magnitude=config.rand_magnitude))
    return v2.Compose(steps)
