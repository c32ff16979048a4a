"""Questions about an image as a whole, which can be learned from mixed images too."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from hybridvit.tasks.base import UNLABELLED, Task


class ImageTask(Task):
    """A task whose loss is a mean of losses that each belong to one sample."""

    mixable = True

    @abstractmethod
    def losses(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of each label, 0 and without a gradient where there is none, and which labels there are.

        Returns:
            float and bool, both ``[b]`` or both ``[b, k]``.
        """

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        losses, labelled = self.losses(prediction, target)
        return losses.sum() / labelled.sum().clamp(min=1)

    def mixed_loss(self, prediction: Tensor, target: Tensor, mix: tuple[Tensor, Tensor]) -> Tensor:
        """Each label is weighted by its image's share of the mixed one (arXiv 1710.09412; 1905.04899, eq. 1).

        For classes this is the cross entropy with the mixed one-hot labels, and for angles, but for a constant, one
        minus the scalar product with the mixed (sin, cos).
        """
        partner, share = mix
        total, weights = prediction.new_zeros((), dtype=torch.float32), share.new_zeros(())
        for labels, part in ((target, share), (target[partner], 1 - share)):
            nothing = torch.nan if labels.is_floating_point() else UNLABELLED
            seen = (part > 0).view(-1, *[1] * (labels.ndim - 1))
            losses, labelled = self.losses(prediction, torch.where(seen, labels, nothing))
            weight = part.view(-1, *[1] * (losses.ndim - 1)) * labelled
            total = total + (weight * losses).sum()
            weights = weights + weight.sum()
        return total / torch.where(weights > 0, weights, 1)
