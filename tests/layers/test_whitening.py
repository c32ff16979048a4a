"""The whitening start: responses over the images, in float64, and what is left alone."""

import pytest
import torch
from torch import nn

from hybridvit.layers import whitening
from hybridvit.layers.whitening import whiten_conv


def pictures(n=53, c=3, h=11, w=13):
    """Smooth colours, correlated over pixels and channels, with a mean of its own."""
    noise = torch.randn(n, c, h + 2, w + 2, dtype=torch.float64)
    smooth = nn.functional.avg_pool2d(noise, 3, stride=1) * 2 + 0.3 * torch.randn(n, c, h, w, dtype=torch.float64)
    mixed = torch.einsum("nchw,cd->ndhw", smooth, torch.eye(c, dtype=torch.float64) + 0.4)
    return mixed + 0.2


def responses(conv, images):
    return conv(images).transpose(0, 1).flatten(1).detach()


@pytest.mark.parametrize(
    "shape",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 2, "bias": False},
        {"kernel_size": (2, 3), "stride": (3, 2), "padding": (0, 1)},
        {"kernel_size": 2, "stride": 2, "dilation": 2},
    ],
)
def test_responses_are_uncorrelated_with_unit_variance(shape):
    images = pictures()
    kernel = shape["kernel_size"]
    values = 3 * (kernel**2 if isinstance(kernel, int) else kernel[0] * kernel[1])
    conv = nn.Conv2d(3, 2 * values + 5, **shape).double()
    before = conv.weight.detach().clone()
    assert whiten_conv(conv, images) == 2 * values
    found = torch.cov(responses(conv, images)[:values], correction=0)
    off = found - torch.diag(found.diagonal())
    assert off.abs().max() < 1e-9
    covariance = whitening.window_covariance(conv, images)
    eigenvalues = torch.linalg.eigvalsh(covariance).flip(0)
    torch.testing.assert_close(found.diagonal(), eigenvalues / (eigenvalues + 5e-4), rtol=0, atol=1e-9)
    assert found.diagonal().min() > 0.95
    assert torch.equal(conv.weight[values : 2 * values], -conv.weight[:values])
    assert torch.equal(conv.weight[2 * values :], before[2 * values :])  # their random start
    if conv.bias is not None:
        assert not conv.bias.any()


@pytest.mark.parametrize(("channels", "own", "negatives"), [(7, 7, 0), (12, 12, 0), (17, 12, 5)])
def test_the_largest_variances_come_first_and_negatives_last(channels, own, negatives):
    images = pictures()
    conv = nn.Conv2d(3, channels, 2).double()
    assert whiten_conv(conv, images) == channels
    windows = nn.functional.unfold(images, 2).transpose(1, 2).flatten(0, 1)
    windows = windows - windows.mean(dim=0)
    _, s, v = torch.linalg.svd(windows, full_matrices=False)  # independent of the covariance
    expected = v * (s.square() / len(windows) + 5e-4).rsqrt()[:, None]
    rows = conv.weight.detach().flatten(1)
    cosine = nn.functional.cosine_similarity(rows[:own], expected[:own])
    torch.testing.assert_close(cosine.abs(), torch.ones(own).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(rows[:own].norm(dim=1), expected[:own].norm(dim=1), rtol=1e-9, atol=0)
    assert torch.equal(rows[own:], -rows[:negatives])


def test_directions_without_variance_are_left_out():
    """The third channel repeats the first, and a pixel is the same in all images."""
    images = pictures(c=2, h=4, w=4)
    images = torch.cat([images, images[:, :1]], dim=1)
    images[:, :, 0, 0] = 0.5
    conv = nn.Conv2d(3, 200, 4, stride=4).double()
    before = conv.weight.detach().clone()
    assert whiten_conv(conv, images) == 2 * 2 * 15
    assert torch.equal(conv.weight[60:], before[60:])
    assert torch.cov(responses(conv, images)[:30], correction=0).diagonal().min() > 0.5
    with pytest.raises(ValueError, match="the images have no contrast to whiten: the largest variance is 0"):
        whiten_conv(conv, torch.full((5, 3, 4, 4), 0.7))


def test_a_float32_layer_takes_float32_images():
    images = pictures().float()
    conv = nn.Conv2d(3, 27, 3, padding=1)
    assert whiten_conv(conv, images) == 27
    assert conv.weight.dtype == torch.float32
    assert conv.weight.requires_grad
    found = torch.cov(responses(conv, images).double())
    torch.testing.assert_close(found, torch.eye(27).double(), rtol=0, atol=0.05)


def test_images_are_read_in_parts_and_no_more_than_asked(monkeypatch):
    images = pictures(n=23)
    whole, parts = nn.Conv2d(3, 12, 2).double(), nn.Conv2d(3, 12, 2).double()
    covariance = whitening.window_covariance(whole, images)
    monkeypatch.setattr(whitening, "VALUES_AT_ONCE", 5 * 12 * 11 * 13)
    torch.testing.assert_close(whitening.window_covariance(parts, images), covariance, rtol=1e-12, atol=1e-12)
    monkeypatch.setattr(whitening, "MOST_IMAGES", 3)
    chosen = whitening.window_covariance(parts, images)
    monkeypatch.setattr(whitening, "MOST_IMAGES", 5000)
    torch.testing.assert_close(chosen, whitening.window_covariance(parts, images[[0, 11, 22]]))


@pytest.mark.parametrize(
    ("conv", "images", "message"),
    [
        (nn.Conv2d(3, 6, 2, groups=3), pictures(), "only a plain, .*groups=3"),
        (nn.Conv2d(3, 6, 3, padding="same"), pictures(), "only a plain, .*padding=same"),
        (nn.Conv2d(2, 6, 2), pictures(), r"expected images \[n, 2, h, w\], given \[53, 3, 11, 13\]"),
        (nn.Conv2d(3, 6, 2), pictures(n=0), r"given \[0, 3, 11, 13\]"),
        (nn.LazyConv2d(6, 2), pictures(), "only a plain, .*: LazyConv2d"),
    ],
)
def test_what_cannot_be_whitened_is_refused(conv, images, message):
    with pytest.raises(ValueError, match=message):
        whiten_conv(conv, images)
