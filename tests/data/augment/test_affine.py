"""Shears, shifts and rotations of a batch against torchvision, one image at a time."""

import math

import pytest
import torch
from torchvision.transforms.v2 import functional

from hybridvit.data.augment import affine

NAMES = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
LEVELS = torch.linspace(-0.99, 0.99, 61).double()
PIXELS = torch.linspace(-32, 32, 61).double()
DEGREES = torch.linspace(-135, 135, 61).double()


def moved(images, name, values):
    """Every image of a batch by its own value of one of the five numbers."""
    numbers = {other: values if other == name else torch.zeros_like(values) for other in NAMES}
    return affine.warp(images, affine.matrix(images.shape[2:], **numbers))


def by_torchvision(image, name, value):
    """As torchvision's policies call it."""
    if name == "rotate":
        return functional.rotate(image, value)
    shear, translate = [0.0, 0.0], [0, 0]
    axis = 0 if name.endswith("x") else 1
    if name.startswith("shear"):
        shear[axis] = math.degrees(math.atan(value))
        return functional.affine(image, 0.0, translate, 1.0, shear, center=[0, 0])
    translate[axis] = int(value)
    return functional.affine(image, 0.0, translate, 1.0, shear)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(11, 13), (8, 8), (17, 5)])
@pytest.mark.parametrize(
    ("name", "values"),
    [("shear_x", LEVELS), ("shear_y", LEVELS), ("translate_x", PIXELS), ("translate_y", PIXELS), ("rotate", DEGREES)],
)
def test_warp_equals_torchvision(name, values, size, channels):
    images = torch.randint(1, 256, (len(values), channels, *size), dtype=torch.uint8)
    found = moved(images, name, values)
    expected = [by_torchvision(image, name, value) for image, value in zip(images, values.tolist(), strict=True)]
    assert found.dtype == torch.uint8
    assert torch.equal(found, torch.stack(expected))
    assert torch.equal(found[30], images[30])  # the value in the middle is 0
    assert not torch.equal(found[0], images[0])


def test_content_moves_the_way_the_numbers_say():
    image = torch.zeros(1, 1, 5, 7, dtype=torch.uint8)
    image[0, 0, 1, 2] = 9
    for name, value, place in (
        ("translate_x", 3.9, (1, 5)),
        ("translate_y", -1.9, (0, 2)),
        ("rotate", 180.0, (3, 4)),
    ):
        found = moved(image, name, torch.tensor([value], dtype=torch.float64))
        assert found[0, 0].nonzero().tolist() == [list(place)], name
