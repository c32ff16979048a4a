"""What is done to training images, as configuration."""

from __future__ import annotations

from math import isfinite
from typing import Literal

from hybridvit.config import Config

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

    crop_padding: int = 0
    crop_fill: Literal["zero", "reflect"] = "zero"
    flip: bool = False
    policy: Literal["none", "trivial", "rand"] = "none"
    rand_ops: int = RAND_OPS
    rand_magnitude: int = RAND_MAGNITUDE
    erasing: float = 0.0
    cutout: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = MIX_PROBABILITY
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"crop_padding cannot be negative, given {self.crop_padding}")
        _one_of("crop_fill", self.crop_fill, ("zero", "reflect"))
        _one_of("policy", self.policy, ("none", "trivial", "rand"))
        if not self.crop_padding and self.crop_fill != "zero":
            raise ValueError(f"crop_fill {self.crop_fill!r} has no effect without crop_padding")
        if self.rand_ops < 1:
            raise ValueError(f"rand_ops must be at least 1, given {self.rand_ops}")
        if not 0 <= self.rand_magnitude < MAGNITUDES:
            raise ValueError(f"rand_magnitude must be from 0 to {MAGNITUDES - 1}, given {self.rand_magnitude}")
        if self.policy != "rand" and (self.rand_ops, self.rand_magnitude) != (RAND_OPS, RAND_MAGNITUDE):
            raise ValueError(
                f"rand_ops and rand_magnitude need policy 'rand': they have no effect with {self.policy!r}"
            )
        if not 0 <= self.erasing <= 1:
            raise ValueError(f"erasing is a probability from 0 to 1, given {self.erasing}")
        if self.cutout < 0:
            raise ValueError(f"cutout cannot be negative, given {self.cutout}")
        for name, alpha in (("mixup", self.mixup), ("cutmix", self.cutmix)):
            if not (alpha >= 0 and isfinite(alpha)):
                raise ValueError(f"{name} is the α of a Beta distribution, 0 or more, given {alpha}")
        if not 0 < self.mix_probability <= 1:
            raise ValueError(f"mix_probability must be above 0 and at most 1, given {self.mix_probability}")
        if self.mix_probability != MIX_PROBABILITY and not (self.mixup or self.cutmix):
            raise ValueError(f"mix_probability {self.mix_probability} has no effect without mixup or cutmix")
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, given {self.repeats}")


def _one_of(name: str, given: str, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, given {given!r}")
