"""What is done to training images, as configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Interval

from hybridvit.config import Config, NonNegativeFloat, NonNegativeInt, PositiveInt, Probability

RAND_OPS, RAND_MAGNITUDE, MIX_PROBABILITY = 2, 9, 1.0
MAGNITUDES = 31  # levels of strength that the policies choose from


class AugmentConfig(Config):
    """What is done to training images, to each sample alone; nothing by default.

    In this order: crop, flip, policy, normalisation, erasing, cutout, mixing.

    Attributes:
        crop_padding: shift by up to so many pixels each way: pad, then crop at random.
        crop_fill: what the padding holds: "zero" (black), or the image itself, reflected at its edges. Masks have no
            label there either way, and reflected points and boxes do not exist.
        flip: mirror left and right with probability 1/2. Masks, points and boxes are mirrored too, and points
            named left and right change places; classes and numbers must not depend on it.
        policy: "trivial", one random operation of random strength (TrivialAugmentWide, arXiv 2103.10158); "rand",
            ``rand_ops`` random operations of one strength (RandAugment, arXiv 1909.13719).
        rand_ops: operations that RandAugment applies, one after the other.
        rand_magnitude: their strength, from 0 to 30.
        erasing: probability that a rectangle of 2 to 33 % of the image takes the mean colour (arXiv 1708.04896).
        cutout: side in pixels of a square that takes the mean colour; its centre may be at any pixel, and what
            reaches beyond the image is lost (arXiv 1708.04552). 0: none.
        mixup: α of the Beta distribution of the share that blends two images and their labels (arXiv 1710.09412).
        cutmix: α of the Beta distribution of the area that one image keeps when it takes a box from another
            (arXiv 1905.04899). Where both are set, each mixed sample takes one of the two, with probability 1/2.
        mix_probability: share of the samples that are mixed.
        repeats: times that each image of a batch appears in it, augmented anew; a batch holds batch_size / repeats
            different images (arXiv 1901.09335).
    """

    crop_padding: NonNegativeInt = 0
    crop_fill: Literal["zero", "reflect"] = "zero"
    flip: bool = False
    policy: Literal["none", "trivial", "rand"] = "none"
    rand_ops: PositiveInt = RAND_OPS
    rand_magnitude: Annotated[int, Interval(ge=0, le=MAGNITUDES - 1)] = RAND_MAGNITUDE
    erasing: Probability = 0.0
    cutout: NonNegativeInt = 0
    mixup: NonNegativeFloat = 0.0
    cutmix: NonNegativeFloat = 0.0
    mix_probability: Annotated[float, Interval(gt=0, le=1)] = MIX_PROBABILITY
    repeats: PositiveInt = 1

    def __post_init__(self) -> None:
        if not self.crop_padding and self.crop_fill != "zero":
            raise ValueError(f"crop_fill {self.crop_fill!r} has no effect without crop_padding")
        if self.policy != "rand" and (self.rand_ops, self.rand_magnitude) != (RAND_OPS, RAND_MAGNITUDE):
            raise ValueError(
                f"rand_ops and rand_magnitude need policy 'rand': they have no effect with {self.policy!r}"
            )
        if self.mix_probability != MIX_PROBABILITY and not (self.mixup or self.cutmix):
            raise ValueError(f"mix_probability {self.mix_probability} has no effect without mixup or cutmix")
