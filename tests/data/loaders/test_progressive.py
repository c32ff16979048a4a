"""Progressive sizes: which size a step has, the resized pixels, and what is refused."""

import pytest
import torch
from torchvision.transforms.v2 import functional

from hybridvit.data.batch import Batch, Mix
from hybridvit.data.loaders.progressive import Progressive, ProgressiveConfig
from hybridvit.data.samples import Column

SIZES = ((0.0, 7), (0.35, 11), (0.7, 13))
SHAPES = {"image": (3, 13, 17)}
LABEL = {"label": Column("class", ("a", "b"))}


class Source:
    def __init__(self, size=(13, 17)):
        self.size = size

    def batch(self, step):
        images = torch.randn(5, 3, *self.size, generator=torch.Generator().manual_seed(step))
        return Batch(images, {"label": torch.arange(5)}, None, Mix(torch.arange(5), torch.ones(5) / 3))


def test_every_step_has_the_size_of_its_share():
    source = Progressive(Source(), SIZES, 20)
    sides = [min(source.batch(step).images.shape[-2:]) for step in range(20)]
    assert sides == [7] * 7 + [11] * 7 + [13] * 6
    assert [source.side(step) for step in range(20)] == sides
    hundredth = Progressive(Source(), ((0.0, 7), (0.07, 11)), 100)
    assert [hundredth.side(step) for step in (6, 7)] == [7, 11]
    assert [Progressive(Source(), SIZES, 1).side(0), Progressive(Source(), SIZES, 2).side(1)] == [7, 11]


@pytest.mark.parametrize(("size", "expected"), [((13, 17), (7, 9)), ((17, 13), (9, 7)), ((13, 13), (7, 7))])
def test_images_are_resized_with_antialiasing_and_keep_their_aspect(size, expected):
    batch = Progressive(Source(size), SIZES, 20).batch(3)
    assert batch.images.shape == (5, 3, *expected)
    peer = functional.resize(Source(size).batch(3).images, list(expected), antialias=True)
    torch.testing.assert_close(batch.images, peer)


def test_a_size_of_the_images_own_leaves_the_batch_as_it_is():
    batch = Progressive(Source(), SIZES, 20).batch(19)
    own = Source().batch(19)
    assert torch.equal(batch.images, own.images)
    early = Progressive(Source(), SIZES, 20).batch(0)
    assert torch.equal(early.targets["label"], own.targets["label"])
    assert torch.equal(early.mix.share, own.mix.share)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (((0.1, 16),), r"begin with the share 0\.0, given 0\.1"),
        (((0.0, 16), (0.7, 24), (0.3, 32)), r"must rise.*\[0\.0, 0\.7, 0\.3\]"),
        (((0.0, 16), (0.3, 24), (0.3, 32)), "must rise"),
        (((0.0, 16), (1.0, 24)), r"sizes\.1\.0 must be below 1, given 1\.0"),
        (((0.0, 16), (float("nan"), 24)), r"sizes\.1\.0 must be a finite number, given nan"),
        (((0.0, 0),), "at least 1, given 0"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(sizes, message):
    with pytest.raises(ValueError, match=message):
        ProgressiveConfig(sizes=sizes)


def test_data_that_cannot_be_shown_smaller_is_refused():
    config = ProgressiveConfig(sizes=SIZES)
    config.check(SHAPES, LABEL)
    for kind in ("mask", "points", "boxes"):
        with pytest.raises(ValueError, match=f"away from their {kind}, column 'where'"):
            config.check(SHAPES, {**LABEL, "where": Column(kind, ("a",))})
        ProgressiveConfig().check(SHAPES, {"where": Column(kind, ("a",))})
    with pytest.raises(ValueError, match="one camera, and there are 2: left, right"):
        config.check({"left": (3, 13, 17), "right": (3, 13, 17)}, LABEL)
    with pytest.raises(ValueError, match="shorter side of 12, given 13"):
        config.check({"image": (3, 17, 12)}, LABEL)
