"""Batches of images on disk: what the workers read, the same at any step, and nothing left behind."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from hybridvit.data.augment.transforms import AugmentConfig, crop
from hybridvit.data.file_images import FileImages
from hybridvit.data.loaders import file_loader
from hybridvit.data.loaders.batches import EvaluationLoader, training_batches
from hybridvit.data.loaders.device_loader import DeviceLoader, Normalisation, TrainingData
from hybridvit.data.loaders.file_loader import FileLoader
from hybridvit.data.loaders.sampling import BatchSampler, SamplingConfig
from hybridvit.data.samples import Column, Samples

CPU = torch.device("cpu")
N, H, W = 13, 6, 7
AS_IS = Normalisation((0.0,) * 3, (1.0 / 255,) * 3)  # pixel values back as they were
CLASS = {"label": Column("class", ())}


@pytest.fixture
def samples(tmp_path):
    """Thirteen pictures on disk; the label is their number."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(N)]
    for path in paths:
        Image.fromarray(rng.integers(1, 256, (H, W, 3), dtype=np.uint8)).save(path)
    return Samples({"image": FileImages.of(paths, 3, (H, W))}, {"label": np.arange(N)})


@pytest.fixture
def alone(monkeypatch):
    """No workers: what they do is done here."""
    monkeypatch.setattr(file_loader, "_workers", lambda: 0)


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(file_loader, "_workers", lambda: 2)


def loader(samples, augmentation=AugmentConfig(), seed=0, columns=CLASS, steps=None, kind=FileLoader):  # noqa: B008
    order = BatchSampler(samples.sources, 4, 0, SamplingConfig(), augmentation.repeats)
    normalisation = dict.fromkeys(samples.views, AS_IS)
    return kind(TrainingData(samples, columns, normalisation, augmentation, order, seed, CPU, steps))


def test_batches_are_those_of_images_in_memory(samples, two):
    source, expected = loader(samples), loader(samples.in_memory(), kind=DeviceLoader)
    for step in range(5):
        got, want = source.batch(step), expected.batch(step)
        assert torch.equal(got.images, want.images)
        assert torch.equal(got.targets["label"], want.targets["label"])
        assert got.present is None


@pytest.mark.parametrize(
    "augmentation",
    [
        AugmentConfig(crop_padding=2, flip=True, policy="trivial"),
        AugmentConfig(policy="rand", repeats=2, mixup=0.5, cutmix=1.0, erasing=0.5),
    ],
    ids=lambda augmentation: augmentation.policy,
)
def test_batches_are_a_function_of_seed_and_step(samples, augmentation, monkeypatch):
    monkeypatch.setattr(file_loader, "_workers", lambda: 0)
    before = torch.get_rng_state()
    source = loader(samples, augmentation)
    in_order = [source.batch(step) for step in range(7)]
    other = loader(samples, augmentation, seed=1).batch(0)
    assert not torch.equal(other.images, in_order[0].images)
    monkeypatch.setattr(file_loader, "_workers", lambda: 2)
    again = loader(samples, augmentation)
    for step in (5, 6, 2, 2, 3):  # on and back, with workers
        batch = again.batch(step)
        assert torch.equal(batch.images, in_order[step].images)
        assert torch.equal(batch.targets["label"], in_order[step].targets["label"])
    assert torch.equal(torch.get_rng_state(), before)


def test_every_image_is_augmented_on_its_own(samples, alone):
    one = Samples({"image": samples.views["image"][:1]}, {"label": np.zeros(1, np.int64)})
    source = loader(one, AugmentConfig(crop_padding=2, flip=True))
    original = torch.from_numpy(one.in_memory().views["image"])
    corners = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    possible = crop(original.expand(25, -1, -1, -1), corners, 2)
    possible = torch.cat([possible, possible.flip(3)]).float()
    seen = [
        int((possible == image.round()).flatten(1).all(1).nonzero()[0])
        for step in range(25)
        for image in source.batch(step).images
    ]
    assert len(set(seen)) > 35  # of 50, in 100 draws


def test_reflected_borders_are_the_image(samples, alone):
    images = loader(samples, AugmentConfig(crop_padding=3, crop_fill="reflect")).batch(0).images
    assert (images > 0).all()  # no pixel of the files is 0
    assert (loader(samples, AugmentConfig(crop_padding=3)).batch(0).images == 0).any()


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_policies_are_torchvisions(samples, alone, policy, monkeypatch):
    made = []

    def stand_in(kind):
        def make(**options):
            made.append((kind, options))
            return v2.Identity()

        return make

    monkeypatch.setattr(v2, "TrivialAugmentWide", stand_in("trivial"))
    monkeypatch.setattr(v2, "RandAugment", stand_in("rand"))
    further = {"rand_ops": 3, "rand_magnitude": 7} if policy == "rand" else {}
    batch = loader(samples, AugmentConfig(policy=policy, **further)).batch(0)
    assert made == [(policy, {"num_ops": 3, "magnitude": 7} if policy == "rand" else {})]
    assert torch.equal(batch.images, loader(samples).batch(0).images)


def test_repeated_images_are_read_once_and_augmented_apart(samples, alone, monkeypatch):
    read = []
    before = FileImages.read_one
    monkeypatch.setattr(FileImages, "read_one", lambda self, index: read.append(index) or before(self, index))
    batch = loader(samples, AugmentConfig(policy="trivial", crop_padding=3, repeats=2)).batch(0)
    labels = batch.targets["label"].tolist()
    assert labels[::2] == labels[1::2] == sorted(read, key=labels.index)
    assert not torch.equal(batch.images[::2], batch.images[1::2])


def test_images_are_mixed_after_normalisation(samples, alone):
    plain = loader(samples, AugmentConfig(flip=True)).batch(3)
    mixed = loader(samples, AugmentConfig(flip=True, mixup=1.0)).batch(3)
    assert plain.mix is None
    share = mixed.mix.share.view(-1, 1, 1, 1)
    expected = share * plain.images + (1 - share) * plain.images[mixed.mix.partner]
    torch.testing.assert_close(mixed.images, expected)
    assert not torch.equal(mixed.images, plain.images)


def test_images_are_erased_after_normalisation(samples, alone):
    images = loader(samples, AugmentConfig(cutout=3)).batch(0).images
    assert (images == 0).all(1).flatten(1).any(1).all()  # a hole of the mean colour, which is 0 here, in every image


def test_masks_points_and_boxes_follow_their_image(tmp_path, alone):
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 100, (5, H, W), dtype=np.uint8)
    mask[:, 2, 3] = 200
    paths = [tmp_path / f"{index}.png" for index in range(5)]
    for path, values in zip(paths, mask, strict=True):
        Image.fromarray(values).save(path)
    targets = {
        "mask": mask,
        "points": np.tile(np.array([[3.5, 2.5]], np.float32), (5, 1, 1)),
        "boxes": np.tile(np.array([[0, 3, 2, 4, 3]], np.float32), (5, 1, 1)),
        "label": np.arange(5),
    }
    columns = {
        "mask": Column("mask", ()),
        "points": Column("points", ("eye",)),
        "boxes": Column("boxes", ("eye",)),
        "label": Column("class", ()),
    }
    samples = Samples({"image": FileImages.of(paths, 1, (H, W))}, targets)
    order = BatchSampler(samples.sources, 5, 0, SamplingConfig())
    normalisation = {"image": Normalisation((0.0,), (1.0 / 255,))}
    augmentation = AugmentConfig(crop_padding=2, flip=True)
    source = FileLoader(TrainingData(samples, columns, normalisation, augmentation, order, 0, CPU))
    places = set()
    for step in range(9):
        batch = source.batch(step)
        image, seen = batch.images[:, 0].round().long(), batch.targets["mask"]
        assert torch.equal(torch.where(seen == -1, 0, seen), image)  # what is padded has no label
        assert sorted(batch.targets["label"].tolist()) == list(range(5))
        at = (image == 200).nonzero()  # the centre of that pixel, and its edges
        assert len(at) == 5
        assert torch.equal(batch.targets["points"][:, 0], at[:, [2, 1]] + 0.5)
        corners = torch.stack([at[:, 2], at[:, 1], at[:, 2] + 1, at[:, 1] + 1], dim=1).float()
        assert torch.equal(batch.targets["boxes"][:, 0, 1:], corners)
        places |= set(map(tuple, at[:, 1:].tolist()))
    assert len(places) > 10


def test_several_cameras_with_one_missing(samples, two):
    files = samples.views["image"]
    there = np.arange(N) % 3 != 0
    paths = [files.path(index) if there[index] else None for index in range(N)]
    views = {"front": files, "left": FileImages.of(paths, 3, (H, W))}
    both = Samples(views, samples.targets, {"left": there})
    settings = CLASS, dict.fromkeys(views, AS_IS), 5, CPU
    got = [loader(both).batch(2), *EvaluationLoader(both, *settings)]
    in_memory = both.in_memory()
    want = [loader(in_memory, kind=DeviceLoader).batch(2), *EvaluationLoader(in_memory, *settings)]
    for one, other in zip(got, want, strict=True):
        for view in views:
            assert torch.equal(one.images[view], other.images[view])
            assert torch.equal(one.present[view], other.present[view])
        assert torch.equal(one.targets["label"], other.targets["label"])


def test_evaluation_shows_all_images_once_in_order(samples, two):
    source = EvaluationLoader(samples, CLASS, {"image": AS_IS}, 5, CPU)
    assert len(source) == N
    for _ in range(2):
        batches = list(source)
        assert [len(batch.images) for batch in batches] == [5, 5, 3]
        assert torch.cat([batch.targets["label"] for batch in batches]).tolist() == list(range(N))
        expected = torch.from_numpy(samples.in_memory().views["image"]).float()
        torch.testing.assert_close(torch.cat([batch.images for batch in batches]), expected)
    assert not list(EvaluationLoader(samples[:0], CLASS, {"image": AS_IS}, 5, CPU))


@pytest.mark.parametrize("on_disk", [True, False])
def test_nobody_need_know_where_images_are(samples, on_disk):
    part = samples if on_disk else samples.in_memory()
    order = BatchSampler(part.sources, 4, 0, SamplingConfig())
    data = TrainingData(part, CLASS, {"image": AS_IS}, AugmentConfig(), order, 0, CPU, 9)
    assert isinstance(training_batches(data), FileLoader if on_disk else DeviceLoader)
