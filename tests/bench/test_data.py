"""The bench of augmentation: both sides do the same thing to the same images. No time is asserted."""

import pytest

from hybridvit.bench import data
from hybridvit.bench.measure import DEVICE


def test_both_sides_have_the_same_statistics():
    """The mean over many images, pixel by pixel, and the shares of black padding and of erased pixels."""
    number, pixels = 600, 8
    samples = data.random_samples(number, pixels)
    ours = data.device_loader(samples, number).batch(0).images.to("cpu")
    (theirs,) = data.torchvision_loader(samples, number, workers=0)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    assert (ours.mean(0) - theirs.mean(0)).abs().max() < 0.5
    assert (ours.std() - theirs.std()).abs() < 0.05
    for value in (0.0, ours.min().item()):
        shares = [(side - value).abs().lt(1e-6).float().mean().item() for side in (ours, theirs)]
        assert shares[0] == pytest.approx(shares[1], abs=0.02), value
        assert shares[0] > 0.01


def test_the_loader_gives_labelled_batches_on_the_device():
    batch = data.device_loader(data.random_samples(6, 8), 3).batch(1)
    assert batch.images.shape == (3, 3, 8, 8)
    assert batch.images.device.type == DEVICE.type
    assert batch.targets["label0"].shape == (3,)
