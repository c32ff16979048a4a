"""What a backbone learns before its tasks or beside them: hidden pixels, and the features of a CNN that teaches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.layers.dense import enlarge
from hybridvit.layers.initialisation import linear
from hybridvit.tasks.base import Objective

Shape = tuple[int, int, int]


class ReconstructionHead(nn.Module):
    """One linear layer from every token to the pixels of its cell (SimMIM, arXiv 2111.09886, §3.3).

    The cells tile the image in equal shares; where the grid does not divide it, they are made of whole pixels and the
    picture is then resized bilinearly.
    """

    def __init__(self, spec: FeatureSpec, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.channels, height, width = image_shape
        self.size = (height, width)
        self.cell = (-(-height // spec.grid[0]), -(-width // spec.grid[1]))
        self.fc = linear(spec.embed_dim, self.channels * self.cell[0] * self.cell[1])

    def forward(self, features: Features) -> Tensor:
        """Features -> ``[b, c, h, w]``."""
        sizes = {"gh": features.grid[0], "c": self.channels, "h": self.cell[0], "w": self.cell[1]}
        image = rearrange(self.fc(features.tokens), "b (gh gw) (c h w) -> b c (gh h) (gw w)", **sizes)
        return enlarge(image, self.size)


class ReconstructionTask(Objective):
    """L1 loss of the pixels that were hidden (SimMIM, arXiv 2111.09886, §3.4); the target is NaN elsewhere.

    Args:
        name: key of the predictions.
        image_shape: channels, height and width of the images.
        target: name of the target column, ``[b, c, h, w]``.
    """

    def __init__(self, name: str, image_shape: tuple[int, int, int], target: str = "pixels") -> None:
        super().__init__(name, target)
        self.image_shape = image_shape

    def head(self, spec: FeatureSpec) -> ReconstructionHead:
        return ReconstructionHead(spec, self.image_shape)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction and target ``[b, c, h, w]`` -> scalar."""
        hidden = ~target.isnan()
        errors = torch.where(hidden, prediction.float() - target, 0).abs()
        return errors.sum() / hidden.sum().clamp(min=1)


class BlockTap:
    """A forward hook that hands on what a transformer block gives in training, once."""

    def __init__(self) -> None:
        self.map: Tensor | None = None
        self.handle: RemovableHandle | None = None

    def listen(self, block: nn.Module) -> None:
        """Hooks on to a block of ``(x, grid)``."""
        self.handle = block.register_forward_hook(self)

    def stop(self) -> None:
        """Takes the hook off."""
        if self.handle is not None:
            self.handle.remove()
        self.map = self.handle = None

    def __call__(self, block: nn.Module, inputs: tuple[Tensor, tuple[int, int]], x: Tensor) -> None:
        rows, columns = inputs[1]
        if block.training:
            self.map = rearrange(x[:, -rows * columns :], "b (h w) d -> b d h w", h=rows)

    def take(self) -> Tensor | None:
        """The patch tokens of the last forward pass as a map ``[b, d, gh, gw]``; None in evaluation."""
        taken, self.map = self.map, None
        return taken

    def __getstate__(self) -> dict[str, Any]:
        return {"map": None, "handle": self.handle}  # a copy of the net sees features of its own


class FeatureDistillationHead(nn.Module):
    """Linear layers from the tokens of some blocks to the channels of the CNN's stages, resized to their grids.

    Its input are the blocks that its ``taps`` listen to, and not the final features. In evaluation they give
    nothing, and neither does the head.
    """

    def __init__(self, dim: int, shapes: Sequence[Shape]) -> None:
        super().__init__()
        self.shapes = tuple(shapes)
        self.project = nn.ModuleList(linear(dim, channels) for channels, _, _ in shapes)
        self.taps = [BlockTap() for _ in shapes]

    def forward(self, features: Features) -> Tensor:
        """Features -> the maps of all stages one after the other, ``[b, Σ c·h·w]``; ``[b, 0]`` in evaluation."""
        maps = []
        for tap, project, (_, rows, columns) in zip(self.taps, self.project, self.shapes, strict=True):
            x = tap.take()
            if x is not None:
                mapped = rearrange(project(rearrange(x, "b d h w -> b h w d")), "b h w c -> b c h w")
                maps.append(enlarge(mapped, (rows, columns)).flatten(1))
        return torch.cat(maps, dim=1) if maps else features.tokens.new_zeros(len(features.tokens), 0)


class FeatureDistillationTask(Objective):
    """Locality guidance (arXiv 2207.10026, §3.2): squared differences between tokens and a CNN's feature maps.

    Tokens after chosen blocks are mapped linearly to the channels of one stage each. The loss is their mean squared
    difference from the stage's map, summed over the stages. Two things differ from the paper. The CNN's features are
    normalised over the channels of every cell (as in arXiv 2205.14141, §3), so that the weight means the same for every
    CNN: a head that answers 0 has a loss of about 1 for each stage. The tokens are resized to the CNN's grid; the paper
    resizes both to the finer one and shows the CNN images of 32 pixels.

    Args:
        name: key of the predictions.
        shapes: channels, rows and columns of every stage.
        weight: factor on the loss.
        target: name of the target column, ``[b, Σ c·h·w]`` as :func:`normalised_maps` gives; NaN where it is missing.
    """

    mixable = True

    def __init__(self, name: str, shapes: Sequence[Shape], weight: float, target: str) -> None:
        super().__init__(name, target)
        self.shapes = tuple(shapes)
        self.weight = weight

    def head(self, spec: FeatureSpec) -> FeatureDistillationHead:
        return FeatureDistillationHead(spec.embed_dim, self.shapes)

    def labelled(self, target: Tensor) -> Tensor:
        return ~target[:, 0].isnan()  # the CNN answers for a whole image or not at all

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """prediction and target ``[b, Σ c·h·w]`` -> scalar."""
        labelled = self.labelled(target)
        squares = torch.where(labelled[:, None], prediction.float() - target, 0).square()
        stages = squares.split([c * h * w for c, h, w in self.shapes], dim=1)
        errors = torch.stack([stage.mean(dim=1) for stage in stages]).sum(dim=0)
        return self.weight * errors.sum() / labelled.sum().clamp(min=1)

    def mixed_loss(self, prediction: Tensor, target: Tensor, mix: tuple[Tensor, Tensor]) -> Tensor:
        """The plain loss: the CNN saw the mixed images."""
        return self.loss(prediction, target)


def normalised_maps(maps: Sequence[Tensor]) -> Tensor:
    """A CNN's maps, ``[b, c, h, w]`` each -> target of :class:`FeatureDistillationTask`, ``[b, Σ c·h·w]``."""
    cells = [F.layer_norm(rearrange(x.float(), "b c h w -> b h w c"), (x.shape[1],)) for x in maps]
    return torch.cat([rearrange(x, "b h w c -> b (c h w)") for x in cells], dim=1)


class SharedHead(nn.Module):
    """The answer of another head under a second name, with nothing of its own to train or to keep."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self._head = (head,)  # in a tuple, where torch does not take it for a part of this module

    def forward(self, features: Features) -> Tensor:
        """Features -> what the other head answers."""
        answer: Tensor = self._head[0](features)
        return answer
