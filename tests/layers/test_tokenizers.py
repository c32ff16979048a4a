"""Tokenizers against loops over patches and scipy's correlation."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from hybridvit.layers import ConvPoolTokenizer, ConvTokenizer, OverlapTokenizer, PatchTokenizer, ShiftedPatchTokenizer
from hybridvit.layers.tokenizers.base import window_grid

B, C, DIM = 2, 3, 7


@pytest.mark.parametrize(("patch", "height", "width"), [(2, 6, 10), (3, 9, 15), (1, 3, 5), (5, 5, 35)])
def test_every_patch_goes_through_the_same_linear_map(patch, height, width, randomise):
    tokenizer = randomise(PatchTokenizer(C, DIM, patch))
    images = torch.randn(B, C, height, width)
    tokens, grid = tokenizer(images)
    assert grid == (height // patch, width // patch) == tokenizer.grid(height, width)
    matrix = tokenizer.proj.weight.flatten(1)
    for row in range(grid[0]):
        for column in range(grid[1]):
            cut = images[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            expected = cut.flatten(1) @ matrix.T + tokenizer.proj.bias
            torch.testing.assert_close(tokens[:, row * grid[1] + column], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (30, 32, "height 30: choose patch_size 15, or a height of 32"),
        (32, 33, "width 33: choose patch_size 11, or a width of 32"),
        (16, 5, "width 5: choose patch_size 5, or a width of 16"),
    ],
)
def test_patches_that_do_not_tile_the_image_are_refused(height, width, message):
    tokenizer = PatchTokenizer(C, DIM, 16)
    with pytest.raises(ValueError, match=message):
        tokenizer.grid(height, width)
    with pytest.raises(ValueError, match=message):
        tokenizer(torch.randn(B, C, height, width))


def test_conv_tokenizer_equals_scipy_correlations(randomise):
    tokenizer = randomise(ConvTokenizer(C, DIM, channels=(5, 4), strides=(2, 1)))
    norms = [module for module in tokenizer.convs if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    images = torch.randn(B, C, 7, 11)
    tokens, grid = tokenizer.eval()(images)
    maps = images.double().numpy()
    for conv, norm, stride in zip(tokenizer.convs[::3], norms, (2, 1), strict=True):
        kernel = conv.weight.detach().double().numpy()
        maps = np.array(
            [
                [
                    sum(correlate2d(image[c], kernel[o, c], mode="same") for c in range(image.shape[0]))
                    for o in range(kernel.shape[0])
                ]
                for image in maps
            ]
        )[:, :, ::stride, ::stride]
        mean, var, weight, bias = (
            v.detach().double().numpy()[:, None, None]
            for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        maps = np.maximum((maps - mean) / np.sqrt(var + 1e-5) * weight + bias, 0)
    matrix = tokenizer.proj.weight.detach().double().numpy()[:, :, 0, 0]
    expected = np.einsum("bchw,dc->bhwd", maps, matrix) + tokenizer.proj.bias.detach().double().numpy()
    assert grid == (4, 6)
    np.testing.assert_allclose(tokens.detach().numpy(), expected.reshape(B, 24, DIM), atol=1e-5)


@pytest.mark.parametrize("strides", [(1,), (2, 2), (2, 1, 3), (3, 2)])
@pytest.mark.parametrize("size", [(6, 12), (7, 11), (13, 5)])
def test_conv_tokenizer_declares_its_grid(strides, size):
    tokenizer = ConvTokenizer(C, DIM, channels=(4,) * len(strides), strides=strides)
    tokens, grid = tokenizer(torch.randn(B, C, *size))
    assert tokenizer.grid(*size) == grid
    assert tokens.shape == (B, grid[0] * grid[1], DIM)
    assert tokenizer.stride == np.prod(strides)


def test_conv_tokenizer_is_equivariant_to_shifts_of_its_stride():
    tokenizer = ConvTokenizer(C, DIM, channels=(4, 5), strides=(2, 2)).eval()
    image = torch.zeros(1, C, 28, 36)
    image[:, :, 8:16, 12:20] = torch.randn(1, C, 8, 8)
    tokens, grid = tokenizer(image)
    moved, _ = tokenizer(image.roll((4, -4), dims=(2, 3)))
    maps, moved = (t.transpose(1, 2).unflatten(2, grid) for t in (tokens, moved))
    torch.testing.assert_close(maps.roll((1, -1), dims=(2, 3)), moved, rtol=0, atol=1e-6)
    assert maps.std() > 0.01


def windows(image, kernel, stride, padding, fill=0.0):
    """The windows of one image ``[c, h, w]``, rows of windows in a list, each ``[c, kernel, kernel]``."""
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)), constant_values=fill)
    tops = range(0, padded.shape[1] - kernel + 1, stride)
    lefts = range(0, padded.shape[2] - kernel + 1, stride)
    return [[padded[:, top : top + kernel, left : left + kernel] for left in lefts] for top in tops]


def convolved(image, weight, stride):
    """Cross-correlation of ``[c, h, w]`` with ``[o, c, k, k]``, padded by k // 2, one window at a time."""
    kernel = weight.shape[-1]
    rows = windows(image, kernel, stride, kernel // 2)
    return np.array([[[(w * filt).sum() for w in row] for row in rows] for filt in weight])


def as_array(tensor):
    return tensor.detach().double().numpy()


@pytest.mark.parametrize(("kernel", "stride"), [(7, 4), (3, 2), (3, 3), (4, 2), (1, 1), (5, 1)])
@pytest.mark.parametrize(("channels", "height", "width"), [(1, 7, 13), (3, 11, 5), (13, 2, 3)])
def test_overlapping_patches_one_window_at_a_time(kernel, stride, channels, height, width, randomise):
    tokenizer = randomise(OverlapTokenizer(channels, DIM, kernel, stride))
    images = torch.randn(B, channels, height, width)
    tokens, grid = tokenizer(images)
    weight, bias = as_array(tokenizer.proj.weight), as_array(tokenizer.proj.bias)
    maps = np.array([convolved(image, weight, stride) for image in as_array(images)]) + bias[:, None, None]
    assert grid == tokenizer.grid(height, width) == maps.shape[2:]
    assert (tokenizer.stride, tokenizer.in_channels) == (stride, channels)
    assert tokens.shape == (B, grid[0] * grid[1], DIM)
    np.testing.assert_allclose(as_array(tokens), maps.reshape(B, DIM, -1).transpose(0, 2, 1), atol=1e-5)


def test_patches_that_skip_pixels_are_refused():
    with pytest.raises(ValueError, match="kernel_size 3 with stride 4 skips pixels: choose kernel_size 4 or more"):
        OverlapTokenizer(C, DIM, 3, 4)


@pytest.mark.parametrize(
    ("channels", "settings", "size"),
    [
        (3, {}, (8, 10)),
        (1, {"kernel_size": 7, "stride": 2, "layers": 2, "hidden_dim": 5}, (29, 17)),
        (2, {"layers": 3, "hidden_dim": 4}, (7, 13)),
        (13, {"kernel_size": 4, "stride": 3}, (11, 5)),
    ],
)
def test_conv_pool_tokenizer_one_window_at_a_time(channels, settings, size):
    tokenizer = ConvPoolTokenizer(channels, DIM, **settings)
    images = torch.randn(B, channels, *size)
    tokens, grid = tokenizer(images)
    stride, layers = settings.get("stride", 1), settings.get("layers", 1)
    expected = []
    for image in as_array(images):
        maps = image
        for conv in tokenizer.convs:
            maps = np.maximum(convolved(maps, as_array(conv.weight), stride), 0)
            rows = windows(maps, 3, 2, 1, fill=-np.inf)
            maps = np.array([[w.max(axis=(1, 2)) for w in row] for row in rows]).transpose(2, 0, 1)
        expected.append(maps.reshape(DIM, -1).T)
    assert grid == tokenizer.grid(*size) == maps.shape[1:]
    assert tokenizer.stride == (2 * stride) ** layers
    assert (expected[0] > 0).any()
    assert [name for name, _ in tokenizer.named_parameters()] == [f"convs.{i}.weight" for i in range(layers)]
    np.testing.assert_allclose(as_array(tokens), np.stack(expected), atol=1e-5)


def test_conv_pool_widths_start_and_gradient():
    tokenizer = ConvPoolTokenizer(C, DIM, layers=3, hidden_dim=40)
    assert [conv.weight.shape[:2] for conv in tokenizer.convs] == [(40, C), (40, 40), (DIM, 40)]
    std = tokenizer.convs[1].weight.std().item()
    assert std == pytest.approx((2 / (40 * 9)) ** 0.5, rel=0.03)
    # A gradient reaches a pooled cell's largest input where that is positive, and nothing else.
    one = ConvPoolTokenizer(1, 1, kernel_size=1)
    torch.nn.init.ones_(one.convs[0].weight)
    image = torch.tensor([[-1.0, -3.0, -2.0, 5.0], [-4.0, -7.0, 3.0, -6.0]])[None, None].requires_grad_()
    one(image)[0].sum().backward()
    assert image.grad.tolist() == [[[[0, 0, 0, 1], [0, 0, 0, 0]]]]
    with pytest.raises(ValueError, match="layers must be at least 1, given 0"):
        ConvPoolTokenizer(C, DIM, layers=0)


@pytest.mark.parametrize(
    ("patch", "channels", "height", "width"), [(2, 3, 6, 10), (3, 1, 9, 15), (5, 13, 5, 10), (4, 2, 12, 8)]
)
def test_shifted_patches_pixel_by_pixel(patch, channels, height, width, randomise):
    tokenizer = randomise(ShiftedPatchTokenizer(channels, DIM, patch))
    images = torch.randn(B, channels, height, width)
    tokens, grid = tokenizer(images)
    assert grid == (height // patch, width // patch) == tokenizer.grid(height, width)
    assert tokens.shape == (B, grid[0] * grid[1], DIM)
    half = patch // 2
    scale, shift = as_array(tokenizer.norm.weight), as_array(tokenizer.norm.bias)
    matrix, bias = as_array(tokenizer.proj.weight), as_array(tokenizer.proj.bias)

    def pixel(image, channel, y, x):
        return image[channel, y, x] if 0 <= y < height and 0 <= x < width else 0.0

    for number, image in enumerate(as_array(images)):
        for row in range(grid[0]):
            for column in range(grid[1]):
                flat = np.array(
                    [
                        pixel(image, channel, row * patch + y - down, column * patch + x - right)
                        for down, right in ((0, 0), (half, half), (half, -half), (-half, half), (-half, -half))
                        for channel in range(channels)
                        for y in range(patch)
                        for x in range(patch)
                    ]
                )
                normed = (flat - flat.mean()) / np.sqrt(flat.var() + 1e-5) * scale + shift
                token = as_array(tokens)[number, row * grid[1] + column]
                np.testing.assert_allclose(token, matrix @ normed + bias, atol=2e-5)


def test_shifts_need_half_a_patch_and_patches_that_tile():
    with pytest.raises(ValueError, match="patch_size must be at least 2, given 1"):
        ShiftedPatchTokenizer(C, DIM, 1)
    with pytest.raises(ValueError, match="width 33: choose patch_size 11, or a width of 32"):
        ShiftedPatchTokenizer(C, DIM, 16)(torch.randn(1, C, 32, 33))


@pytest.mark.parametrize("side", [(0, 8), (8, 0)])
@pytest.mark.parametrize(
    "tokenizer",
    [
        PatchTokenizer(C, DIM, 4),
        ConvTokenizer(C, DIM, (4,), (2,)),
        OverlapTokenizer(C, DIM, 3, 2),
        ConvPoolTokenizer(C, DIM),
        ShiftedPatchTokenizer(C, DIM, 4),
    ],
)
def test_nothing_makes_no_tokens(tokenizer, side):
    with pytest.raises(ValueError, match="choose") as refusal:
        tokenizer.grid(*side)
    assert ("height" if side[0] == 0 else "width") in str(refusal.value)


def test_window_grid_counts_windows():
    for kernel, stride, size in product((1, 2, 3, 4, 7), (1, 2, 4), ((7, 11), (7, 7), (13, 8))):
        for padding in range(kernel // 2 + 1):
            rows = windows(np.zeros((1, *size)), kernel, stride, padding)
            assert window_grid(kernel, stride, padding, *size) == (len(rows), len(rows[0]))
    with pytest.raises(ValueError, match=r"height of 2 leaves no room for a window of 7 .* choose a height of 3"):
        window_grid(7, 4, 2, 2, 5)
