"""Random erasing and cutout: torchvision's distribution, and rectangles cut out one image at a time."""

import pytest
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from hybridvit.data.augment.erasing import draw_rectangles, draw_squares, keep
from hybridvit.data.augment.transforms import AugmentConfig, erase

B, C, H, W = 37, 3, 11, 13


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(32, 48), (23, 7), (3, 40)])
def test_rectangles_have_the_distribution_of_torchvision(size):
    """Sides and places by Kolmogorov and Smirnov; of a narrow image, also how often no try fits."""
    peer, image = v2.RandomErasing(p=1), torch.zeros(3, *size)
    drawn = [peer.make_params([image]) for _ in range(2000)]
    theirs = torch.tensor([[d["i"], d["j"], d["h"], d["w"]] for d in drawn if d["v"] is not None]).double()
    ours = draw_rectangles(20_000, size, 1.0, generator())
    fit = ours[:, 2] > 0
    assert abs(fit.double().mean() - len(theirs) / len(drawn)) < 0.03
    ours = ours[fit].double()
    for number in range(4):
        assert stats.ks_2samp(ours[:, number], theirs[:, number]).pvalue > 1e-3
    area, their_area = (r[:, 2] * r[:, 3] for r in (ours, theirs))
    assert stats.ks_2samp(area, their_area).pvalue > 1e-3


def test_area_and_ratio_are_drawn_from_their_ranges():
    size = (401, 503)
    top, left, h, w = draw_rectangles(20_000, size, 1.0, generator()).double().unbind(1)
    share, ratio = h * w / (401 * 503), h / w
    assert 0.019 < share.min() < 0.03
    assert 0.32 < share.max() < 0.334
    assert abs(share.mean() - 0.175) < 0.003
    assert abs(ratio.log().mean()) < 0.03  # of log(0.3) to log(3.3), in which long ones fit less often
    assert 0.29 < ratio.min() < 0.32
    assert 3.1 < ratio.max() < 3.4
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + h).max() == 401
    assert (left + w).max() == 503


def test_erasing_equals_torchvision_with_the_rectangles_drawn():
    images = torch.randn(B, C, H, W)
    copy = images.clone()
    found = erase(images, AugmentConfig(erasing=0.5), generator(3))
    rectangles = draw_rectangles(B, (H, W), 0.5, generator(3)).int().tolist()
    expected = [
        functional.erase(image, top, left, h, w, torch.zeros(C, 1, 1)) if h else image
        for image, (top, left, h, w) in zip(images, rectangles, strict=True)
    ]
    assert torch.equal(found, torch.stack(expected))
    assert torch.equal(images, copy)
    assert 5 < sum(h == 0 for _, _, h, _ in rectangles) < B - 5


def test_erasing_hits_the_share_of_images_that_it_should():
    hit = (draw_rectangles(20_000, (H, W), 0.25, generator())[:, 2] > 0).double().mean()
    assert abs(hit - 0.25) < 0.015


@pytest.mark.parametrize("side", [1, 4, 5, 40])
def test_cutout_is_a_square_around_any_pixel_cut_at_the_edges(side):
    images = torch.randn(B, C, H, W)
    found = erase(images, AugmentConfig(cutout=side), generator(5))
    squares = draw_squares(B, (H, W), side, generator(5)).tolist()
    expected = images.clone()
    for image, (top, left, _, _) in zip(expected, squares, strict=True):
        for y in range(max(top, 0), min(top + side, H)):
            for x in range(max(left, 0), min(left + side, W)):
                image[:, y, x] = 0
    assert torch.equal(found, expected)
    assert (found == 0).any()


def test_the_centre_of_a_square_may_be_at_any_pixel():
    squares = draw_squares(20_000, (H, W), 5, generator())
    count = ((squares[:, 0] + 2) * W + squares[:, 1] + 2).bincount(minlength=H * W)
    assert len(count) == H * W
    assert stats.chisquare(count).pvalue > 1e-3


def test_rectangles_of_size_zero_keep_everything():
    assert torch.equal(keep(torch.tensor([[3, 4, 0, 0]]), (H, W)), torch.ones(1, 1, H, W))


def test_half_precision_stays_half_precision():
    images = torch.randn(B, C, H, W, dtype=torch.bfloat16)
    assert erase(images, AugmentConfig(erasing=1.0, cutout=3), generator()).dtype == torch.bfloat16


def test_erasing_and_cutout_are_drawn_one_after_the_other():
    images, source = torch.randn(B, C, H, W), generator(2)
    one = erase(images, AugmentConfig(erasing=1.0), source)
    both = erase(images, AugmentConfig(erasing=1.0, cutout=3), generator(2))
    assert torch.equal(both, erase(one, AugmentConfig(cutout=3), source))
