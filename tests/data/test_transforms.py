"""Augmentation against torchvision, one image at a time."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional

from hybridvit.data.transforms import AugmentConfig, augment, crop

B, C, H, W = 25, 3, 5, 7


def pictures(b=B, dtype=torch.uint8):
    return torch.randint(1, 256, (b, C, H, W)).to(dtype)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("padding", [1, 2, 9])
def test_crop_equals_torchvision_at_every_corner(padding, dtype):
    corners = torch.cartesian_prod(torch.arange(2 * padding + 1), torch.arange(2 * padding + 1))
    images = pictures(len(corners), dtype)
    found = crop(images, corners, padding)
    padded = F.pad(images, (padding,) * 4)
    expected = [
        functional.crop(image, top, left, H, W) for image, (top, left) in zip(padded, corners.tolist(), strict=True)
    ]
    assert found.dtype == dtype
    assert torch.equal(found, torch.stack(expected))


def test_shifts_are_drawn_for_each_image_alone_and_reach_every_corner():
    image = pictures(1)
    shifted = augment(image.expand(400, -1, -1, -1), AugmentConfig(crop_padding=1), generator())
    corners = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    possible = crop(image.expand(9, -1, -1, -1), corners, 1)
    matches = (shifted[:, None] == possible).flatten(2).all(-1)
    assert (matches.sum(1) == 1).all()
    assert (matches.sum(0) > 20).all()  # 44 of 400 expected for each of the nine


def test_flip_mirrors_columns_of_half_the_images():
    images = pictures(400)
    flipped = augment(images, AugmentConfig(flip=True), generator())
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images[..., torch.arange(W - 1, -1, -1)]).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_flip_follows_the_crop_of_the_same_draw():
    images = pictures(50)
    both = augment(images, AugmentConfig(crop_padding=2, flip=True), generator(7))
    cropped = augment(images, AugmentConfig(crop_padding=2), generator(7))
    same = (both == cropped).flatten(1).all(1)
    mirrored = (both == cropped.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert mirrored.any()
    assert not mirrored.all()


def test_draws_come_from_the_generator_alone():
    images, config = pictures(), AugmentConfig(crop_padding=2, flip=True)
    state = torch.get_rng_state()
    first = augment(images, config, generator(1))
    assert torch.equal(first, augment(images, config, generator(1)))
    assert not torch.equal(first, augment(images, config, generator(2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_no_augmentation_leaves_images_alone():
    images = pictures()
    assert torch.equal(augment(images, AugmentConfig(), generator()), images)


def test_augmentation_leaves_its_input_alone():
    images = pictures()
    copy = images.clone()
    augment(images, AugmentConfig(crop_padding=2, flip=True), generator())
    assert torch.equal(images, copy)


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="crop_padding cannot be negative, given -1"):
        AugmentConfig(crop_padding=-1)
