"""Augmentation against torchvision, one image at a time."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional

from hybridvit.data.augment import transforms
from hybridvit.data.augment.policies import apply_policy
from hybridvit.data.augment.transforms import AugmentConfig, crop
from hybridvit.data.samples import Column

B, C, H, W = 25, 3, 5, 7


def pictures(b=B, dtype=torch.uint8):
    return torch.randint(1, 256, (b, C, H, W)).to(dtype)


def augment(images, config, generator):
    return transforms.augment(images, {}, {}, config, generator)[0]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("padding", [1, 2, 9])
def test_crop_equals_torchvision_at_every_corner(padding, dtype):
    corners = torch.cartesian_prod(torch.arange(2 * padding + 1), torch.arange(2 * padding + 1))
    images = pictures(len(corners), dtype)
    found = crop(images, corners, padding)
    padded = F.pad(images, (padding,) * 4)
    expected = [
        functional.crop(image, top, left, H, W) for image, (top, left) in zip(padded, corners.tolist(), strict=True)
    ]
    assert found.dtype == dtype
    assert torch.equal(found, torch.stack(expected))


def test_shifts_are_drawn_for_each_image_alone_and_reach_every_corner():
    image = pictures(1)
    shifted = augment(image.expand(400, -1, -1, -1), AugmentConfig(crop_padding=1), generator())
    corners = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    possible = crop(image.expand(9, -1, -1, -1), corners, 1)
    matches = (shifted[:, None] == possible).flatten(2).all(-1)
    assert (matches.sum(1) == 1).all()
    assert (matches.sum(0) > 20).all()  # 44 of 400 expected for each of the nine


def test_flip_mirrors_columns_of_half_the_images():
    images = pictures(400)
    flipped = augment(images, AugmentConfig(flip=True), generator())
    same = (flipped == images).flatten(1).all(1)
    mirrored = (flipped == images[..., torch.arange(W - 1, -1, -1)]).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 150 < mirrored.sum() < 250


def test_flip_follows_the_crop_of_the_same_draw():
    images = pictures(50)
    both = augment(images, AugmentConfig(crop_padding=2, flip=True), generator(7))
    cropped = augment(images, AugmentConfig(crop_padding=2), generator(7))
    same = (both == cropped).flatten(1).all(1)
    mirrored = (both == cropped.flip(3)).flatten(1).all(1)
    assert (same | mirrored).all()
    assert mirrored.any()
    assert not mirrored.all()


def test_draws_come_from_the_generator_alone():
    images, config = pictures(), AugmentConfig(crop_padding=2, flip=True)
    state = torch.get_rng_state()
    first = augment(images, config, generator(1))
    assert torch.equal(first, augment(images, config, generator(1)))
    assert not torch.equal(first, augment(images, config, generator(2)))
    assert torch.equal(torch.get_rng_state(), state)


def test_no_augmentation_leaves_images_alone():
    images = pictures()
    assert torch.equal(augment(images, AugmentConfig(), generator()), images)


def test_augmentation_leaves_its_input_alone():
    images = pictures()
    copy = images.clone()
    augment(images, AugmentConfig(crop_padding=2, flip=True), generator())
    assert torch.equal(images, copy)


def drawn(image, points, boxes):
    """A mask whose classes mark where the points are: 1, 2, ... at their pixels; 9 inside the box."""
    mask = torch.zeros(image.shape[-2:], dtype=torch.uint8)
    x1, y1, x2, y2 = (int(v) for v in boxes[0, 1:])
    mask[y1:y2, x1:x2] = 9
    for number, (x, y) in enumerate(points.tolist(), start=1):
        mask[int(y), int(x)] = number
    return mask


@pytest.mark.parametrize("flip", [False, True])
def test_masks_points_and_boxes_follow_their_image(flip):
    """What is drawn into image and mask is found again at the points and in the box, sample by sample."""
    height, width, b = 11, 13, 40
    points = torch.tensor([[1.5, 3.5], [11.5, 6.5]])
    boxes = torch.tensor([[2.0, 5.0, 2.0, 8.0, 9.0], [-1.0, 0, 0, 0, 0]])
    image = torch.zeros(3, height, width, dtype=torch.uint8)
    mask = drawn(image, points, boxes)
    image[:] = mask * 20
    batch = {"mask": mask, "points": points, "boxes": boxes}
    targets = {name: value.expand(b, *value.shape) for name, value in batch.items()}
    columns = {
        "mask": Column("mask", tuple("0123456789")),
        "points": Column("points", ("left_eye", "right_eye")),
        "boxes": Column("boxes", ("a", "b", "c")),
    }
    config = AugmentConfig(crop_padding=3, flip=flip)
    images, found = transforms.augment(image.expand(b, -1, -1, -1), targets, columns, config, generator())
    mirrored_some = lost_some = cut_some = False
    for i in range(b):
        inside = found["mask"][i] != 255
        assert torch.equal(images[i, 0][inside], found["mask"][i][inside] * 20)
        seen = {int(v) for v in found["mask"][i].unique()} - {0, 9, 255}
        mirrored = False
        for number in (1, 2):
            name_index = number - 1
            x, y = found["points"][i, name_index].tolist()
            other_x, other_y = found["points"][i, 1 - name_index].tolist()
            if number in seen:
                at_own = x == x and int(found["mask"][i][int(y), int(x)]) == number
                at_other = other_x == other_x and int(found["mask"][i][int(other_y), int(other_x)]) == number
                assert at_own != at_other  # in a mirror the left eye is the right one
                mirrored |= at_other
            else:
                lost_some = True
        mirrored_some |= mirrored
        kind, x1, y1, x2, y2 = found["boxes"][i, 0].tolist()
        area = torch.zeros(height, width, dtype=torch.bool)
        area[int(y1) : int(y2), int(x1) : int(x2)] = True
        assert kind == 2
        assert (found["mask"][i][area] != 0).all()
        assert not (found["mask"][i][~area] == 9).any()
        cut_some |= int(area.sum()) < 42
        assert found["boxes"][i, 1].tolist() == [-1, 0, 0, 0, 0]
    assert mirrored_some == flip
    assert lost_some
    assert cut_some


def test_what_leaves_the_image_is_no_label_and_what_is_missing_stays_missing():
    points = torch.tensor([[[0.5, 0.5], [float("nan")] * 2]])
    column = Column("points", ("a", "b"))
    moved = transforms.shift(points, column, torch.tensor([[-2, 0]]), (5, 7))
    assert moved.isnan().all()
    boxes = torch.tensor([[[1.0, 0, 0, 2, 2], [0, 1, 1, 6, 4]], [[float("nan")] * 5] * 2])
    found = transforms.shift(boxes, Column("boxes", ("a", "b")), torch.tensor([[-2, 1], [1, 1]]), (5, 7))
    assert found[0].tolist() == [[-1, 0, 0, 0, 0], [0, 2, 0, 7, 2]]
    assert found[1].isnan().all()
    mirrored = transforms.mirror(boxes, Column("boxes", ("a", "b")), 7)
    assert mirrored[0].tolist() == [[1, 5, 0, 7, 2], [0, 1, 1, 6, 4]]
    assert mirrored[1].isnan().all()


def test_crop_and_flip_draw_as_they_always_have():
    """Shifts first, then mirrors, each for the whole batch: shipped results depend on it."""
    images = pictures()
    found = augment(images, AugmentConfig(crop_padding=2, flip=True), generator(11))
    source = generator(11)
    shifts = torch.randint(5, (B, 2), generator=source).tolist()
    mirrors = (torch.rand(B, generator=source) < 0.5).tolist()
    for image, result, (top, left), mirrored in zip(images, found, shifts, mirrors, strict=True):
        expected = functional.crop(F.pad(image, (2,) * 4), top, left, H, W)
        assert torch.equal(result, functional.horizontal_flip(expected) if mirrored else expected)


def test_a_policy_draws_after_crop_and_flip():
    images, source = pictures(), generator(7)
    found = augment(images, AugmentConfig(crop_padding=2, flip=True, policy="trivial"), generator(7))
    cropped = augment(images, AugmentConfig(crop_padding=2, flip=True), source)
    assert torch.equal(found, apply_policy(cropped, AugmentConfig(policy="trivial"), source))
    assert not torch.equal(found, cropped)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("padding", [1, 4])
def test_reflected_crop_equals_torchvision(padding, dtype):
    corners = torch.cartesian_prod(torch.arange(2 * padding + 1), torch.arange(2 * padding + 1))
    images = pictures(len(corners), dtype)
    found = crop(images, corners, padding, fill="reflect")
    padded = functional.pad(images, [padding], padding_mode="reflect")
    expected = [
        functional.crop(image, top, left, H, W) for image, (top, left) in zip(padded, corners.tolist(), strict=True)
    ]
    assert found.dtype == dtype
    assert torch.equal(found, torch.stack(expected))


def test_what_is_reflected_is_no_label():
    """A mask is void, and points and boxes are not there, wherever they would be with black padding."""
    targets = {
        "mask": torch.randint(0, 5, (B, H, W), dtype=torch.uint8),
        "points": torch.rand(B, 2, 2) * 5,
        "boxes": torch.tensor([[1.0, 1, 1, 4, 4]]).expand(B, 1, 5),
    }
    columns = {name: Column(name, ("a", "b")) for name in targets}
    images = pictures()
    reflect, zero = AugmentConfig(crop_padding=3, crop_fill="reflect"), AugmentConfig(crop_padding=3)
    shown, found = transforms.augment(images, targets, columns, reflect, generator())
    black, expected = transforms.augment(images, targets, columns, zero, generator())
    assert all(torch.equal(found[name].nan_to_num(-1), expected[name].nan_to_num(-1)) for name in targets)
    assert (found["mask"] == 255).any()
    assert (black == 0).any()
    assert not (shown == 0).any()


def test_a_policy_refuses_columns_that_say_where_something_is():
    images = pictures()
    for kind in ("mask", "points", "boxes"):
        columns = {"label": Column("class", ("a",)), "place": Column(kind, ("a",))}
        with pytest.raises(ValueError, match=rf"policy 'rand' moves .* {kind} do not follow: column 'place' needs"):
            transforms.augment(images, {}, columns, AugmentConfig(policy="rand"), generator())
    transforms.augment(images, {}, {"label": Column("class", ("a",))}, AugmentConfig(policy="rand"), generator())


def test_a_policy_refuses_channels_that_are_not_colours():
    with pytest.raises(ValueError, match=r"policy 'trivial' needs images of 1 .* or 3 .* channels, given 4"):
        augment(torch.zeros(B, 4, H, W, dtype=torch.uint8), AugmentConfig(policy="trivial"), generator())


def test_an_image_is_not_reflected_further_than_it_reaches():
    config = AugmentConfig(crop_padding=5, crop_fill="reflect")
    with pytest.raises(ValueError, match="larger than crop_padding, given 5x7 pixels and a padding of 5"):
        augment(pictures(), config, generator())


def test_nothing_to_erase_leaves_images_alone():
    images = torch.randn(B, C, H, W)
    assert torch.equal(transforms.erase(images, AugmentConfig(), generator()), images)
