"""Settings of self-supervised pre-training."""

from __future__ import annotations

from typing import Literal

from hybridvit.config import Config, OpenFraction, PositiveFloat, PositiveInt


class PretrainConfig(Config):
    """The backbone first learns to fill in hidden squares of the training images, without labels.

    Masked image modelling as in SimMIM (arXiv 2111.09886); on small sets it needs no other images than those that are
    learned from afterwards (arXiv 2112.10740). Images are cropped and mirrored as in the training, and nothing else.

    Attributes:
        steps: number of updates; small sets want many (arXiv 2112.10740 trains for thousands of epochs).
        lr: highest learning rate of AdamW.
        batch_size: images in an update; None: as in the training.
        mask_ratio: share of the squares that are hidden.
        mask_size: side of a square in pixels, best a multiple of the backbone's stride: a token that sees part of what
            it should fill in copies it. With images of 192 pixels SimMIM is at its best where hidden pixels are on
            average 10 to 20 pixels from the nearest that is seen (fig. 3b). In images of 32 pixels that are 1.7 to 3.3,
            which squares of 4 give at a ratio of 0.4 (1.8) to 0.75 (3.1), squares of 2 at 0.8 (2.0).
        normalise: every square's pixels are predicted with their own mean and variance taken out (arXiv 2111.06377,
            §4.1), not as they are. That is meant for squares of 16 pixels: in those of 4 it makes the faint noise of a
            smooth one count as much as an edge.
    """

    kind: Literal["masked"] = "masked"
    steps: PositiveInt = 2000
    lr: PositiveFloat = 1e-3
    batch_size: PositiveInt | None = None
    mask_ratio: OpenFraction = 0.5
    mask_size: PositiveInt = 4
    normalise: bool = False
