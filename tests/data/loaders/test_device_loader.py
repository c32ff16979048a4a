"""Batches as a function of seed and step; normalisation against numpy."""

from collections import Counter

import numpy as np
import pytest
import torch

from hybridvit.data.augment.transforms import AugmentConfig, crop
from hybridvit.data.loaders.batches import EvaluationLoader
from hybridvit.data.loaders.device_loader import DeviceLoader, Normalisation, TrainingData
from hybridvit.data.loaders.sampling import BatchSampler, SamplingConfig
from hybridvit.data.samples import Column, Samples

CPU = torch.device("cpu")
AS_IS = Normalisation((0.0,) * 3, (1.0 / 255,) * 3)  # pixel values back as they were


def numbered(n):
    """Images whose every pixel, and whose label, is their number."""
    images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None, None], (n, 3, 4, 5)).copy()
    return samples(images, np.arange(n))


def samples(images, labels, column="label"):
    return Samples({"image": images}, {column: labels})


def loader(n=17, batch_size=5, seed=0, augmentation=AugmentConfig(), images=None):  # noqa: B008
    return make(images or numbered(n), AS_IS, augmentation, batch_size, seed)


def make(drawn, normalisation, augmentation, batch_size, seed, column="label"):
    order = BatchSampler(np.zeros(len(drawn)), batch_size, seed, SamplingConfig())
    columns = {column: Column("class", ())}
    return DeviceLoader(TrainingData(drawn, columns, {"image": normalisation}, augmentation, order, seed, CPU))


def numbers(batch):
    assert torch.equal(batch.images[:, 0, 0, 0].round().long(), batch.targets["label"])  # image and label go together
    return batch.targets["label"].tolist()


@pytest.mark.parametrize(("n", "batch_size"), [(17, 5), (15, 5), (7, 7), (3, 8), (1, 4), (5, 23)])
def test_every_epoch_shows_every_image_once(n, batch_size):
    source = loader(n, batch_size)
    steps = [numbers(source.batch(step)) for step in range(3 * n)]
    assert all(len(step) == batch_size for step in steps)  # never a short batch, even with fewer images than that
    seen = [number for step in steps for number in step]
    epochs = [seen[start : start + n] for start in range(0, len(seen), n)]
    assert len(epochs) == 3 * batch_size
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    if n > 5:
        assert len({tuple(epoch) for epoch in epochs}) > 1


def test_batches_are_a_function_of_seed_and_step():
    augmentation = AugmentConfig(crop_padding=2, flip=True)
    rng = np.random.default_rng(0)
    images = samples(rng.integers(0, 256, (17, 3, 4, 5), dtype=np.uint8), np.arange(17))
    source = loader(images=images, augmentation=augmentation)
    in_order = [source.batch(step) for step in range(9)]
    again = loader(images=images, augmentation=augmentation)
    for step in (8, 0, 3, 3, 7, 1):  # in any order, from a fresh loader
        batch = again.batch(step)
        assert torch.equal(batch.images, in_order[step].images)
        assert torch.equal(batch.targets["label"], in_order[step].targets["label"])
    other = loader(images=images, augmentation=augmentation, seed=1).batch(0)
    assert not torch.equal(other.targets["label"], in_order[0].targets["label"])
    state = torch.get_rng_state()
    source.batch(4)
    assert torch.equal(torch.get_rng_state(), state)


def made_together(ahead=3, **arguments):
    """A loader that makes so many batches at once, as it does on a GPU."""
    source = loader(**arguments)
    source.ahead = ahead
    return source


def test_batches_made_together_are_those_made_apart():
    apart, together = loader(), made_together()
    for step in (0, 1, 2, 3, 11, 4):
        assert numbers(together.batch(step)) == numbers(apart.batch(step))


def test_batches_made_together_are_a_function_of_seed_and_step():
    rng = np.random.default_rng(0)
    images = samples(rng.integers(0, 256, (17, 3, 8, 9), dtype=np.uint8), np.arange(17))
    augmentation = AugmentConfig(
        crop_padding=2, flip=True, policy="trivial", erasing=0.5, cutmix=1.0, mix_probability=0.7
    )
    source = made_together(images=images, augmentation=augmentation)
    in_order = [source.batch(step) for step in range(9)]
    again = made_together(images=images, augmentation=augmentation)
    for step in (8, 0, 3, 3, 7, 1):
        batch = again.batch(step)
        assert torch.equal(batch.images, in_order[step].images)
        assert torch.equal(batch.targets["label"], in_order[step].targets["label"])
        assert torch.equal(batch.mix.share, in_order[step].mix.share)
    assert len({batch.images.sum().item() for batch in in_order}) == 9
    assert not torch.equal(in_order[0].mix.partner, in_order[1].mix.partner)


def test_batches_made_together_are_each_mixed_within_themselves():
    source = made_together(augmentation=AugmentConfig(mixup=1.0, mix_probability=0.8))
    for step in range(6):
        batch = source.batch(step)
        images, number, (partner, share) = batch.images, batch.targets["label"], batch.mix
        assert sorted(partner.tolist()) == [0, 1, 2, 3, 4]
        expected = share * number + (1 - share) * number[partner]
        torch.testing.assert_close(images, expected[:, None, None, None].expand_as(images), rtol=1e-5, atol=1e-5)
        assert 0 < (share < 1).sum() <= 5


def test_the_same_image_is_augmented_anew_in_every_step():
    rng = np.random.default_rng(0)
    images = samples(rng.integers(1, 256, (1, 3, 4, 5), dtype=np.uint8), np.zeros(1, np.int64))
    source = loader(images=images, batch_size=1, augmentation=AugmentConfig(crop_padding=2))
    looks = Counter(tuple(source.batch(step).images.flatten().tolist()) for step in range(40))
    assert len(looks) > 15  # of 25 possible


def test_augmentation_does_not_change_the_order_and_precedes_normalisation():
    rng = np.random.default_rng(0)
    images = samples(rng.integers(1, 256, (17, 3, 4, 5), dtype=np.uint8), np.arange(17))
    normalisation = Normalisation.of(images.views["image"])
    named = samples(images.views["image"], images.targets["label"], "species")
    batch = make(named, normalisation, AugmentConfig(crop_padding=1), 5, 0, "species").batch(2)
    labels = batch.targets["species"]
    assert torch.equal(labels, loader(images=images).batch(2).targets["label"])
    corners = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    for image, label in zip(batch.images, labels, strict=True):
        original = torch.from_numpy(images.views["image"][label])
        possible = normalisation(crop(original.expand(9, -1, -1, -1), corners, 1))  # padded with black, not with grey
        assert (possible == image).flatten(1).all(1).sum() == 1


@pytest.mark.parametrize(("n", "batch_size"), [(17, 5), (15, 5), (3, 8), (0, 4)])
def test_evaluation_shows_all_images_once_in_order(n, batch_size):
    source = EvaluationLoader(numbered(n), {"label": Column("class", ())}, {"image": AS_IS}, batch_size, CPU)
    assert len(source) == n
    for _ in range(2):
        batches = list(source)
        assert [number for batch in batches for number in numbers(batch)] == list(range(n))
        assert len(batches) == -(-n // batch_size)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_normalisation_equals_numpy(channels):
    rng = np.random.default_rng(0)
    images = rng.integers(0, rng.integers(2, 256, (channels, 1, 1)), (11, channels, 3, 7)).astype(np.uint8)
    normalisation = Normalisation.of(images)
    scaled = images / 255.0
    np.testing.assert_allclose(normalisation.mean, scaled.mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(normalisation.std, scaled.std(axis=(0, 2, 3)), rtol=1e-12)
    out = normalisation(torch.from_numpy(images))
    assert out.dtype == torch.float32
    mean, std = scaled.mean(axis=(0, 2, 3), keepdims=True), scaled.std(axis=(0, 2, 3), keepdims=True)
    np.testing.assert_allclose(out.numpy(), (scaled - mean) / std, rtol=1e-4, atol=1e-5)


def test_a_channel_without_contrast_keeps_its_scale():
    images = np.zeros((4, 2, 3, 5), np.uint8)
    images[:, 0] = 51
    images[::2, 1] = 255
    normalisation = Normalisation.of(images)
    assert normalisation.mean == pytest.approx((0.2, 0.5))
    assert normalisation.std == pytest.approx((1.0, 0.5))
    assert normalisation(torch.from_numpy(images)).abs().max() == pytest.approx(1)
