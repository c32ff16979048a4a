"""TrivialAugment and RandAugment against torchvision's: what is drawn, and what it does to each image."""

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from hybridvit.data.augment import policies
from hybridvit.data.augment.policies import OPERATIONS, Drawn
from hybridvit.data.augment.transforms import AugmentConfig

CPU = torch.device("cpu")
H, W = 11, 13
PEERS = {"trivial": v2.TrivialAugmentWide(), "rand": v2.RandAugment()}
THEIRS = {name.replace("_", ""): name for name in OPERATIONS}  # torchvision's ShearX is shear_x


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def draw(policy, number, magnitude=9, size=(H, W)):
    strength = {"rand_magnitude": magnitude} if policy == "rand" else {}
    return policies.draw(AugmentConfig(policy=policy, **strength), number, size, generator())


def space(peer, size=(H, W)):
    """torchvision's operations by our names: magnitudes, and whether the sign is drawn."""
    for name, (magnitudes, signed) in peer._AUGMENTATION_SPACE.items():
        levels = magnitudes(31, *size)
        yield THEIRS[name.lower()], torch.zeros(31) if levels is None else levels, signed


def by_torchvision(peer, image, operation, magnitude):
    (name,) = [name for name in peer._AUGMENTATION_SPACE if THEIRS[name.lower()] == operation]
    return peer._apply_image_or_video_transform(
        image, name, magnitude, interpolation=InterpolationMode.NEAREST, fill=peer._fill
    )


def pairs(operation, magnitude):
    return set(zip(operation.tolist(), magnitude.tolist(), strict=True))


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_operations_and_magnitudes_are_those_of_torchvision(policy):
    ours = policies.magnitudes(policy, (H, W), CPU)
    theirs = {name: (levels, signed) for name, levels, signed in space(PEERS[policy])}
    assert set(theirs) == set(OPERATIONS)
    for index, name in enumerate(OPERATIONS):
        levels, signed = theirs[name]
        assert ours[index, 0].tolist() == levels.tolist(), name
        assert ours[index, 1].tolist() == (-levels if signed else levels).tolist(), name


def test_trivial_augment_draws_every_operation_level_and_sign_evenly():
    drawn = draw("trivial", 40_000)
    table = policies.magnitudes("trivial", (H, W), CPU)
    every = {(index, value.item()) for index in range(14) for value in table[index].flatten()}
    assert pairs(*drawn) == every
    assert ((drawn.operation.bincount() / 40_000 * 14 - 1).abs() < 0.1).all()  # 5.3 standard deviations
    signed = drawn.magnitude[drawn.operation == OPERATIONS.index("rotate")]
    assert abs((signed < 0).float().mean() - 30 / 62) < 0.05
    assert ((signed.abs() / 4.5).round().long().bincount()[1:] / len(signed) * 31 - 1).abs().max() < 0.6


@pytest.mark.parametrize("magnitude", [0, 9, 30])
def test_rand_augment_draws_every_operation_and_sign_at_one_level(magnitude):
    drawn = draw("rand", 20_000, magnitude)
    table = policies.magnitudes("rand", (H, W), CPU)[:, :, magnitude]
    assert pairs(*drawn) == {(index, value.item()) for index in range(14) for value in table[index]}
    assert ((drawn.operation.bincount() / 20_000 * 14 - 1).abs() < 0.15).all()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_images_are_those_of_torchvision_with_the_parameters_drawn(policy, channels):
    images = torch.randint(0, 256, (700, channels, H, W), dtype=torch.uint8)
    drawn = draw(policy, 700)
    found = policies.apply(images, drawn)
    changed = 0
    for image, result, index, magnitude in zip(images, found, *map(torch.Tensor.tolist, drawn), strict=True):
        name = OPERATIONS[index]
        difference = (result.int() - by_torchvision(PEERS[policy], image, name, magnitude).int()).abs().max()
        assert difference <= (name == "contrast"), (name, magnitude)  # see test_pixel_ops on contrast
        changed += int(not torch.equal(result, image))
    assert changed > 400


def test_a_device_that_works_on_all_samples_gives_the_same(monkeypatch):
    images = torch.randint(0, 256, (300, 3, H, W), dtype=torch.uint8)
    drawn = draw("trivial", 300)
    expected = policies.apply(images, drawn)
    monkeypatch.setattr(policies, "_each_its_own", policies._selected)
    assert torch.equal(policies.apply(images, drawn), expected)


def test_operations_of_rand_augment_follow_each_other():
    images = torch.randint(0, 256, (50, 3, H, W), dtype=torch.uint8)
    config = AugmentConfig(policy="rand", rand_ops=3, rand_magnitude=20)
    found = policies.apply_policy(images, config, generator(1))
    expected, source = images, generator(1)
    for _ in range(3):
        expected = policies.apply(expected, policies.draw(config, 50, (H, W), source))
    assert torch.equal(found, expected)


def test_one_image_alone_and_an_operation_that_nobody_drew():
    image = torch.randint(0, 256, (1, 3, H, W), dtype=torch.uint8)
    for index in range(len(OPERATIONS)):
        drawn = Drawn(torch.tensor([index]), torch.tensor([0.0], dtype=torch.float64))
        assert policies.apply(image, drawn).shape == image.shape
