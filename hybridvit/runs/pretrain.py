"""Self-supervised pre-training: the backbone fills in hidden squares of the images that it will learn from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone
from hybridvit.data.augment.config import AugmentConfig
from hybridvit.data.batch import Batch
from hybridvit.data.loaders.batches import training_batches
from hybridvit.data.loaders.device_loader import TrainingData
from hybridvit.data.loaders.sampling import BatchSampler, seed_of
from hybridvit.data.samples import ONE_VIEW, Samples
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.recipe import Recipe
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.runs.stage import fit_stage, stage_train
from hybridvit.runs.stage_config import PretrainConfig
from hybridvit.tasks.objectives import ReconstructionTask
from hybridvit.training.engine import BatchSource, Trainer
from hybridvit.training.history import OnStep
from hybridvit.training.optimisers.kinds import AdamWConfig
from hybridvit.training.run_folder import RunFolder

FOLDER, TASK = "pretraining", "reconstruction"
MASKS = 3  # stream of random numbers; 0 to 2 are the order's and the augmentation's
FLAT = 1e-4  # added to a square's variance; normalised pixels that differ by one of 256 levels vary by about as much


def pretrain(
    backbone: nn.Module,
    source: BatchSource,
    config: PretrainConfig,
    recipe: Recipe,
    data: DatasetInfo,
    accelerator: Accelerator,
    folder: Path | None = None,
    on_step: OnStep | None = None,
) -> dict[str, Any]:
    """Pre-trains a backbone in place, as :func:`~hybridvit.runs.stage.fit_stage` does.

    Args:
        source: images ``[b, c, h, w]``, as :func:`pretraining_batches` gives.
        recipe: of the training that follows: its seed, and how often it logs and saves.
    """
    assert isinstance(backbone, Backbone)
    task = ReconstructionTask(TASK, data.shapes[ONE_VIEW])
    masked = MaskedBatches(source, config, recipe.seed, task.image_shape[1:], task.target)
    train = stage_train(recipe.train, config.steps, config.batch_size)

    def make_trainer(run_folder: RunFolder | None) -> Trainer:
        net = HydraNet(backbone, {TASK: task.head(backbone.spec)}).to(accelerator.device)
        optim = AdamWConfig(lr=config.lr)
        return Trainer(net, {TASK: task}, train, optim, masked, accelerator=accelerator, folder=run_folder)

    return fit_stage(make_trainer, config, recipe.seed, data, accelerator.device, folder, on_step)


def pretraining_batches(
    config: PretrainConfig, recipe: Recipe, train: Samples, data: DatasetInfo, device: torch.device
) -> BatchSource:
    """The training images without their targets, cropped and flipped as the recipe says.

    Raises:
        ValueError: several cameras.
    """
    if data.shapes.keys() != {ONE_VIEW}:
        raise ValueError(f"pre-training needs one image for each sample, this data has views {', '.join(data.shapes)}")
    crop = recipe.augment
    geometry = AugmentConfig(crop_padding=crop.crop_padding, crop_fill=crop.crop_fill, flip=crop.flip)
    order = BatchSampler(train.sources, config.batch_size or recipe.train.batch_size, recipe.seed, recipe.sampling)
    images = replace(train, targets={})
    return training_batches(
        TrainingData(images, {}, data.normalisation, geometry, order, recipe.seed, device, config.steps)
    )


class MaskedBatches:
    """Images with hidden squares; what they hide is the target, NaN elsewhere.

    A hidden pixel takes the mean colour, 0 after normalisation, before the backbone sees it, so that any backbone can
    be pre-trained. Each batch is a function of the seed and the step alone.

    Args:
        source: the whole images, normalised, of this size in pixels.
        config: what is hidden.
        target: name of the target column, ``[b, c, h, w]``.

    Raises:
        ValueError: the images have no two squares, so that nothing could be hidden or nothing seen.
    """

    def __init__(
        self, source: BatchSource, config: PretrainConfig, seed: int, size: tuple[int, int], target: str
    ) -> None:
        side = config.mask_size
        self.squares = (-(-size[0] // side), -(-size[1] // side))
        if self.squares[0] * self.squares[1] < 2:
            nearest = max(max(size) // 2, 1)
            raise ValueError(f"mask_size {side} covers images of {size[0]}x{size[1]} pixels whole: choose {nearest}")
        self.source, self.config, self.seed, self.target = source, config, seed, target

    def batch(self, step: int) -> Batch:
        """The batch of this step, counted from 0."""
        batch = self.source.batch(step)
        images: Tensor = batch.images
        generator = torch.Generator().manual_seed(seed_of(self.seed, MASKS, step))  # the same on every device
        hidden = self._draw(len(images), generator).to(images.device, non_blocking=True)
        side, (height, width) = self.config.mask_size, images.shape[-2:]
        hidden = hidden.repeat_interleave(side, 1).repeat_interleave(side, 2)[:, None, :height, :width]
        target = squares_normalised(images, side) if self.config.normalise else images
        pixels = target.masked_fill(~hidden, torch.nan)
        return Batch(images.masked_fill(hidden, 0), {self.target: pixels})

    def _draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Which squares are hidden, ``[count, rows, columns]`` bool; as many in every image, but never all."""
        rows, columns = self.squares
        target = min(max(round(self.config.mask_ratio * rows * columns), 1), rows * columns - 1)
        rank = torch.rand(count, rows * columns, generator=generator).argsort(dim=1).argsort(dim=1)
        return (rank < target).view(count, rows, columns)


def squares_normalised(images: Tensor, side: int) -> Tensor:
    """Images ``[b, c, h, w]`` with the mean and the variance of every square, over all channels, taken out."""
    height, width = images.shape[-2:]

    def mean(values: Tensor) -> Tensor:
        pooled = F.avg_pool2d(values.mean(dim=1, keepdim=True), side, ceil_mode=True)
        return pooled.repeat_interleave(side, 2).repeat_interleave(side, 3)[..., :height, :width]

    centred = images - mean(images)
    return centred / (mean(centred.square()) + FLAT).sqrt()
