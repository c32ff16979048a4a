"""Colour and contrast of a batch against torchvision, one image at a time."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from hybridvit.data.augment import pixel_ops

FACTORS = (torch.linspace(-0.99, 0.99, 61).double() + 1).tolist()
SIZES = [(11, 13), (16, 32), (5, 2)]


def pictures(channels, size):
    """Noise, faint noise, two levels, one level, and a channel that is constant."""
    images = torch.randint(0, 256, (5, channels, *size), dtype=torch.uint8)
    images[1] = images[1] // 9 + 90
    images[2] = images[2] // 128 * 200
    images[3] = 77
    images[4, 0] = 5
    return images


def each(images, function, parameters):
    """torchvision's result for every image with every parameter."""
    return torch.stack([function(image, value) for value in parameters for image in images])


def paired(images, parameters):
    """Every image with every parameter, as a batch."""
    values = torch.tensor(parameters, dtype=torch.float64).repeat_interleave(len(images))
    return images.repeat(len(parameters), 1, 1, 1), values


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("operation", "peer", "parameters"),
    [
        (pixel_ops.brightness, functional.adjust_brightness, FACTORS),
        (pixel_ops.posterize, functional.posterize, list(range(9))),
        (pixel_ops.solarize, functional.solarize, (255 * torch.linspace(0, 1, 31).double()).tolist()),
    ],
)
def test_levels_by_strength_equal_torchvision(operation, peer, parameters, channels, size):
    images = pictures(channels, size)
    batch, values = paired(images, parameters)
    found = operation(batch, values)
    assert found.dtype == torch.uint8
    assert torch.equal(found, each(images, peer, parameters))
    assert not torch.equal(found, batch)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("operation", "peer"),
    [(pixel_ops.autocontrast, functional.autocontrast), (pixel_ops.equalize, functional.equalize)],
)
def test_levels_from_the_image_equal_torchvision(operation, peer, channels, size):
    images = pictures(channels, size)
    found = operation(images)
    assert torch.equal(found, torch.stack([peer(image) for image in images]))


def test_equalize_spreads_levels():
    """On more pixels than levels: so that it is not the case that leaves images as they are."""
    images = pictures(3, (32, 37))
    found = pixel_ops.equalize(images)
    assert torch.equal(found, torch.stack([functional.equalize(image) for image in images]))
    assert found[1].float().std() > 3 * images[1].float().std()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_contrast_equals_torchvision_but_for_the_rounding_of_halves(channels, size):
    """torchvision fuses product and sum in whole vector registers (16 pixels) and not in what is left of an image."""
    images = pictures(channels, size)
    batch, factors = paired(images, FACTORS)
    found = pixel_ops.contrast(batch, factors)
    difference = (found.int() - each(images, functional.adjust_contrast, FACTORS).int()).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < (0.02 if size[0] * size[1] % 16 else 1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("operation", "peer"),
    [
        (pixel_ops.saturation, functional.adjust_saturation),
        (pixel_ops.sharpness, functional.adjust_sharpness),
    ],
)
def test_operations_equal_torchvision(operation, peer, channels, size):
    images = pictures(channels, size)
    batch, factors = paired(images, FACTORS)
    copy = batch.clone()
    assert torch.equal(operation(batch, factors), each(images, peer, FACTORS))
    assert torch.equal(batch, copy)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "sharpness"])
def test_a_factor_of_one_changes_nothing(name):
    images = pictures(3, (11, 13))
    result = getattr(pixel_ops, name)(images, torch.ones(len(images), dtype=torch.float64))
    assert torch.equal(result, images)
