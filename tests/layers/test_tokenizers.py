"""Tokenizers against loops over patches and scipy's correlation."""

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from hybridvit.layers import ConvTokenizer, PatchTokenizer

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
