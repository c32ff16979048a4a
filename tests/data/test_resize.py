"""Images in memory at another size: masks, points and boxes go with them."""

import numpy as np
import torch
from torchvision.transforms.v2 import functional

from hybridvit.data.resize import resized
from hybridvit.data.samples import Column, Samples, Splits

COLUMNS = {
    "kind": Column("class", ("a", "b")),
    "mask": Column("mask", ("0", "1", "2")),
    "points": Column("points", ("p",)),
    "boxes": Column("boxes", ("a",)),
}


def splits(height=6, width=10):
    rng = np.random.default_rng(0)
    samples = Samples(
        {"image": rng.integers(0, 256, (3, 2, height, width), dtype=np.uint8)},
        {
            "kind": np.array([0, 1, -1]),
            "mask": rng.integers(0, 3, (3, height, width)).astype(np.uint8),
            "points": np.array([[[1.0, 3.0]], [[10.0, 6.0]], [[np.nan, np.nan]]], np.float32),
            "boxes": np.array([[[0, 1, 2, 5, 6]], [[-1, 0, 0, 0, 0]], [[np.nan] * 5]], np.float32),
        },
    )
    return Splits("s", COLUMNS, samples, samples[:0], samples[:1])


def test_targets_follow_the_images():
    plain, found = splits(), resized(splits(), (9, 25))
    assert found.shapes == {"image": (2, 9, 25)}
    assert found.validation.views["image"].shape == (0, 2, 9, 25)
    expected = functional.resize(
        torch.from_numpy(plain.train.views["image"]), [9, 25], interpolation=functional.InterpolationMode.BICUBIC
    )
    assert np.array_equal(found.train.views["image"], expected)
    assert found.train.targets["kind"].tolist() == [0, 1, -1]
    np.testing.assert_allclose(found.train.targets["points"][:2, 0], [[2.5, 4.5], [25, 9]])
    assert np.isnan(found.train.targets["points"][2]).all()
    assert found.train.targets["boxes"][0, 0].tolist() == [0, 2.5, 3, 12.5, 9]
    assert found.train.targets["boxes"][1, 0].tolist() == [-1, 0, 0, 0, 0]
    assert found.train.targets["points"].dtype == np.float32


def test_masks_take_the_pixel_under_the_centre_of_the_new_one():
    plain, found = splits(), resized(splits(), (3, 20))
    for row in range(3):
        for column in range(20):
            below = plain.train.targets["mask"][:, int((row + 0.5) * 2), int((column + 0.5) / 2)]
            assert np.array_equal(found.train.targets["mask"][:, row, column], below)


def test_the_same_size_changes_nothing():
    plain = splits()
    assert resized(plain, None) is plain
    assert resized(plain, (6, 10)) is plain
