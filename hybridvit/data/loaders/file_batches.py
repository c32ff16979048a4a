"""What worker processes do: read the images of a batch from their files and augment them one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hybridvit.data.augment.config import AugmentConfig
from hybridvit.data.augment.transforms import PLACED, augment
from hybridvit.data.file_images import FileImages, Images
from hybridvit.data.loaders.device_loader import DeviceSamples
from hybridvit.data.loaders.sampling import seed_of
from hybridvit.data.samples import ONE_VIEW, Column, Samples

STREAM = 4  # of random numbers; 0 and 1 are those of the sampler and of images in memory

Key = tuple[int, NDArray[np.int64]]  # a step, and the samples of its batch


class FileBatches(Dataset[DeviceSamples | str]):
    """The batches by step and samples, as workers read them: a function of these and the seed alone.

    What cannot be read gives the reason instead of a batch: a worker's exception would come with its traceback.

    A single view is augmented image by image: by torchvision's transforms, or, where targets move with the pixels, as
    images in memory are.

    Args:
        samples: images on disk with their targets.
        columns: what the targets hold.
        augmentation: what is done to images before they are normalised; None: nothing.
        seed: of the augmentation.
    """

    def __init__(
        self, samples: Samples, columns: Mapping[str, Column], augmentation: AugmentConfig | None = None, seed: int = 0
    ) -> None:
        self.samples, self.seed = samples, seed
        self.placed = {
            name: column for name, column in columns.items() if column.kind in PLACED and name in samples.targets
        }
        config = augmentation if samples.views.keys() == {ONE_VIEW} else None
        changes = config is not None and (config.crop_padding or config.flip or config.policy != "none")
        self.augmentation = config if changes else None
        self.transform: Any = None  # torchvision's, made here so that forked workers need not import it
        if self.augmentation is not None and not self.placed:
            self.transform = _transform(self.augmentation, samples.views[ONE_VIEW].shape[2:])

    def __getitem__(self, key: Key) -> DeviceSamples | str:
        step, rows = key
        try:
            views = {view: _pixels(images, rows) for view, images in self.samples.views.items()}
        except ValueError as error:
            return str(error)
        drawn = DeviceSamples.of(replace(self.samples[rows], views=views))
        if self.augmentation is None:
            return drawn
        seeds = [seed_of(STREAM, self.seed, step, position) for position in range(len(rows))]
        if self.transform is not None:
            images = _transformed(drawn.views[ONE_VIEW], self.transform, seeds)
            return drawn._replace(views={ONE_VIEW: images})
        return self._augmented(drawn, self.augmentation, seeds)

    def _augmented(self, drawn: DeviceSamples, config: AugmentConfig, seeds: list[int]) -> DeviceSamples:
        """One view with targets that move with the pixels, each sample augmented from its own seed."""
        images, targets = [], []
        for position, seed in enumerate(seeds):
            one = drawn.take(torch.tensor([position]))
            placed = {name: one.targets[name] for name in self.placed}
            generator = torch.Generator().manual_seed(seed)
            image, moved = augment(one.views[ONE_VIEW], placed, self.placed, config, generator)
            images.append(image)
            targets.append(moved)
        moved = {name: torch.cat([each[name] for each in targets]) for name in self.placed}
        return drawn._replace(views={ONE_VIEW: torch.cat(images)}, targets=drawn.targets | moved)


def _pixels(images: Images, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The pixels of some images, ``[b, c, h, w]``; repeated ones are read once."""
    if not isinstance(images, FileImages):
        return images[rows]
    different, where = np.unique(rows, return_inverse=True)
    return np.stack([images.read_one(row) for row in different])[where]


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
