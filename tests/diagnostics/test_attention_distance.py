"""Attention distance against slow loops, and where its value is known by hand."""

import math

import numpy as np
import pytest
import torch

from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.diagnostics import attention_distance, attention_matrices
from hybridvit.diagnostics.attention_distance import distances
from hybridvit.layers.attention import Attention
from hybridvit.models import create_model

PLAIN = ViTConfig(embed_dim=16, depth=3, num_heads=4, tokenizer=PatchConfig(patch_size=2), pooling="mean")
CLS = ViTConfig(embed_dim=16, depth=2, num_heads=2, tokenizer=PatchConfig(patch_size=2), class_token_layer=1)
IMAGE = (6, 10)  # 3 x 5 tokens


def made(config, randomise):
    return randomise(create_model(config, num_classes=3, image_size=IMAGE), 0.5)


def test_distances_are_those_of_a_slow_loop():
    cells = [(y, x) for y in range(3) for x in range(5)]
    expected = [[math.dist(a, b) for b in cells] for a in cells]
    np.testing.assert_allclose(distances((3, 5)).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("config", [PLAIN, CLS])
def test_every_layer_is_read_at_its_own_input(config, randomise):
    """The input of a layer's attention, written out from the layers before it."""
    model = made(config, randomise).eval()
    images = torch.randn(5, 3, *IMAGE)
    found = {}
    for layer, matrix, grid, part in attention_matrices(model, images, batch_size=2):
        assert grid == (3, 5)
        found.setdefault(layer, []).append(matrix)
        assert len(matrix) == len(images[part])
    with torch.no_grad():
        x, grid, _ = model.backbone.embed(images)
        for layer, block in enumerate(model.backbone.blocks):
            if layer == model.backbone.entry:
                x = model.backbone.with_prefix(x)
            expected = block.attention.weights(block.norm1(x), grid)
            torch.testing.assert_close(torch.cat(found[layer]), expected, rtol=0, atol=1e-5)
            x = block(x, grid)
    assert len(found) == config.depth


@pytest.mark.parametrize("renormalise", [True, False])
@pytest.mark.parametrize("config", [PLAIN, CLS])
def test_it_is_the_mean_of_a_slow_loop(config, renormalise, randomise):
    model = made(config, randomise)
    images = torch.randn(3, 3, *IMAGE)
    expected = np.zeros((config.depth, config.num_heads))
    far = distances((3, 5)).numpy()
    for layer, matrix, _, _ in attention_matrices(model, images):
        prefix = matrix.shape[-1] - 15
        for weights in matrix.double().numpy():
            for head, rows in enumerate(weights):
                for query in range(15):
                    row = rows[prefix + query, prefix:]
                    share = row / row.sum() if renormalise else row
                    expected[layer, head] += (share * far[query]).sum() / 15 / len(images)
    found = attention_distance(model, images, renormalise, batch_size=2)
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)  # batches of another size round otherwise
    np.testing.assert_allclose(found.reference, far.mean())


def test_uniform_attention_is_as_far_as_uniform():
    model = create_model(PLAIN, num_classes=3, image_size=IMAGE)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Attention):
                module.qkv.weight.zero_()
                module.qkv.bias.zero_()
    found = attention_distance(model, torch.randn(2, 3, *IMAGE))
    np.testing.assert_allclose(found.relative, 1.0, rtol=1e-6)


def test_a_sharp_convolutional_start_looks_half_a_patch_away():
    """Four heads at offsets of ±1/2, between the patches: of the four around each point, one in four is the query."""
    config = ViTConfig(
        embed_dim=16,
        depth=1,
        num_heads=4,
        attention=("gpsa",),
        locality_strength=60.0,
        tokenizer=PatchConfig(patch_size=2),
        pooling="mean",
    )
    model = create_model(config, num_classes=3, image_size=80)
    with torch.no_grad():
        model.backbone.blocks[0].attention.gate.fill_(60.0)
    inner = (0 + 1 + 1 + math.sqrt(2)) / 4
    found = attention_distance(model, torch.randn(1, 3, 80, 80)).values
    np.testing.assert_allclose(found, inner, rtol=0.03)  # at the edges there is less to look at


def test_the_model_is_left_as_it_was(randomise):
    model = made(PLAIN, randomise)
    attention_distance(model, torch.randn(1, 3, *IMAGE))
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.raises(ValueError, match="expected images"):
        attention_distance(model, torch.randn(1, 3, 6, 7, 9))
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_what_cannot_be_read_is_one_line(randomise):
    resnet = create_model(ResNetConfig(depths=(1,), width=8), num_classes=3, image_size=8)
    with pytest.raises(ValueError, match="has no self-attention over a grid of tokens"):
        attention_distance(resnet, torch.randn(1, 3, 8, 8))
    with pytest.raises(ValueError, match="there is no image to look at"):
        attention_distance(made(PLAIN, randomise), torch.randn(0, 3, *IMAGE))
