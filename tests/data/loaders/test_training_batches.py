"""What DeviceLoader does to images, step by step, and that it never waits for a device."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hybridvit.data.augment.mixing import mix
from hybridvit.data.augment.transforms import AugmentConfig, augment, erase
from hybridvit.data.loaders.device_loader import DeviceLoader, Normalisation, TrainingData
from hybridvit.data.loaders.sampling import BatchSampler, SamplingConfig
from hybridvit.data.samples import Column, Samples

CPU = torch.device("cpu")
NORMALISATION = Normalisation((0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
COLUMNS = {"label": Column("class", ())}
N, B = 17, 6
EVERYTHING = {"crop_padding": 2, "flip": True, "erasing": 0.5, "mixup": 0.8, "cutmix": 1.0, "mix_probability": 0.9}


def drawn(n=N):
    return Samples(
        {"image": np.random.default_rng(0).integers(0, 256, (n, 3, 5, 7), np.uint8)}, {"label": np.arange(n)}
    )


def loader(augmentation, seed=7, batch_size=B, samples=None, device=CPU):
    samples = samples or drawn()
    order = BatchSampler(np.zeros(len(samples)), batch_size, seed, SamplingConfig(), augmentation.repeats)
    return DeviceLoader(TrainingData(samples, COLUMNS, {"image": NORMALISATION}, augmentation, order, seed, device))


def test_batches_of_earlier_versions_are_kept():
    batch = loader(AugmentConfig(crop_padding=2, flip=True), batch_size=5).batch(3)
    assert batch.targets["label"].tolist() == [9, 11, 16, 2, 4]
    weighted = batch.images.double().flatten(1).mul(torch.arange(105)).sum(1)
    expected = [-6999.334830725566, -3762.381874576211, -2772.997590199113, -7168.01063400507, -7939.438090205193]
    assert weighted.tolist() == pytest.approx(expected, rel=1e-9)
    assert batch.mix is None


def test_the_parts_of_augmentation_follow_each_other():
    config = AugmentConfig(**EVERYTHING)
    batch = loader(config).batch(3)
    index = torch.from_numpy(BatchSampler(np.zeros(N), B, 7, SamplingConfig()).indices(3))
    seed = int(np.random.SeedSequence((7, 1, 3)).generate_state(1, np.uint64)[0] >> 1)
    generator = torch.Generator().manual_seed(seed)
    pixels, _ = augment(torch.from_numpy(drawn().views["image"])[index], {}, {}, config, generator)
    images, how = mix(erase(NORMALISATION(pixels), config, generator), config, generator)
    assert torch.equal(batch.images, images)
    assert torch.equal(batch.mix.partner, how.partner)
    assert torch.equal(batch.mix.share, how.share)
    assert torch.equal(batch.targets["label"], index)  # of the images before they were mixed


def test_mixed_batches_are_a_function_of_seed_and_step():
    config = AugmentConfig(repeats=2, **EVERYTHING)
    in_order = [loader(config).batch(step) for step in range(5)]
    again = loader(config)
    for step in (4, 0, 2, 2):
        batch = again.batch(step)
        assert torch.equal(batch.images, in_order[step].images)
        assert torch.equal(batch.mix.share, in_order[step].mix.share)
    assert not torch.equal(loader(config, seed=8).batch(0).mix.share, in_order[0].mix.share)


def test_mixing_changes_neither_the_samples_nor_what_comes_before_it():
    plain = loader(AugmentConfig(crop_padding=2, flip=True)).batch(4)
    mixed = loader(AugmentConfig(crop_padding=2, flip=True, mixup=1.0)).batch(4)
    assert torch.equal(plain.targets["label"], mixed.targets["label"])
    share = mixed.mix.share[:, None, None, None]
    expected = share * plain.images + (1 - share) * plain.images[mixed.mix.partner]
    torch.testing.assert_close(mixed.images, expected, rtol=1e-5, atol=1e-5)


def test_repeated_samples_are_augmented_apart():
    batch = loader(AugmentConfig(crop_padding=2, repeats=3), batch_size=12).batch(1)
    assert set(Counter(batch.targets["label"].tolist()).values()) == {3}
    assert len({tuple(image.flatten().tolist()) for image in batch.images}) > 8  # of 4 images, 25 crops of each


def test_normalisation_is_the_plain_formula_bit_for_bit_and_leaves_pixels_alone():
    images = torch.from_numpy(drawn().views["image"])
    mean, std = (torch.tensor(values)[:, None, None] for values in (NORMALISATION.mean, NORMALISATION.std))
    for pixels in (images, images.float()):
        copy = pixels.clone()
        assert torch.equal(NORMALISATION(pixels), (images.float() / 255 - mean) / std)
        assert torch.equal(pixels, copy)
    other = Normalisation((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    torch.testing.assert_close(other.of_normalised(NORMALISATION(images), NORMALISATION), other(images))


class Waits(TorchDispatchMode):
    """Counts what would make a GPU wait for the host or the host for a GPU."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "_to_copy", "repeat_interleave")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        masks = [i for i in args[1] if i is not None and i.dtype == torch.bool] if name == "index" else []
        moved = name == "_to_copy" and (kwargs or {}).get("device") is not None
        if masks or moved or (name in self.NAMES and name != "_to_copy"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_a_device():
    source = loader(AugmentConfig(**EVERYTHING))
    source.batch(0)  # makes the constants
    with Waits() as waits:
        source.batch(1)
    assert waits.found == ["lift_fresh"]  # the indices, from numpy
    with Waits() as waits:
        torch.tensor([1.0])
        torch.arange(3)[torch.tensor([True, False, True])].sum().item()
    assert {"lift_fresh", "index", "_local_scalar_dense"} <= set(waits.found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_nothing_waits_for_a_gpu():
    source = loader(AugmentConfig(**EVERYTHING), device=torch.device("cuda"))
    first = source.batch(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        again = source.batch(0)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.mix.share, again.mix.share)
