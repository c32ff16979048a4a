"""Attention entropy against slow loops, and where its value is known by hand."""

import math

import numpy as np
import pytest
import torch

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.diagnostics import attention_entropy, attention_matrices
from hybridvit.layers import TalkingHeads
from hybridvit.layers.attention import Attention
from hybridvit.models import create_model

PLAIN = ViTConfig(embed_dim=16, depth=3, num_heads=4, tokenizer=PatchConfig(patch_size=2), pooling="mean")
CLS = ViTConfig(embed_dim=16, depth=2, num_heads=2, tokenizer=PatchConfig(patch_size=2), class_token_layer=1)
IMAGE = (6, 10)  # 3 x 5 tokens


@pytest.mark.parametrize("config", [PLAIN, CLS])
def test_it_is_the_mean_of_a_slow_loop(config, randomise):
    model = randomise(create_model(config, num_classes=3, image_size=IMAGE), 0.5)
    images = torch.randn(3, 3, *IMAGE)
    expected = np.zeros((config.depth, config.num_heads))
    tokens = np.zeros(config.depth)
    for layer, matrix, _, _ in attention_matrices(model, images):
        tokens[layer] = matrix.shape[-1]
        for weights in matrix.double().numpy():
            for head, rows in enumerate(weights):
                for row in rows:
                    expected[layer, head] -= sum(p * math.log(p) for p in row if p > 0) / len(row) / len(images)
    reading = attention_entropy(model, images, batch_size=2)
    np.testing.assert_allclose(reading.values, expected, rtol=1e-6)
    np.testing.assert_allclose(reading.reference, np.log(tokens))
    assert (reading.values < reading.reference[:, None]).all()


def test_uniform_attention_has_the_entropy_of_its_tokens():
    model = create_model(PLAIN, num_classes=3, image_size=IMAGE)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, Attention):
                module.qkv.weight.zero_()
                module.qkv.bias.zero_()
    reading = attention_entropy(model, torch.randn(2, 3, *IMAGE))
    np.testing.assert_allclose(np.exp(reading.values), 15, rtol=1e-5)
    np.testing.assert_allclose(reading.relative, 1, rtol=1e-6)


def test_attention_to_one_token_has_no_entropy(monkeypatch):
    model = create_model(PLAIN, num_classes=3, image_size=IMAGE)
    monkeypatch.setattr(Attention, "weights", lambda self, x, grid: torch.eye(15).expand(len(x), 4, 15, 15))
    assert (attention_entropy(model, torch.randn(2, 3, *IMAGE)).values == 0).all()


def test_heads_that_are_no_probabilities_have_no_value():
    config = ViTConfig(
        embed_dim=16,
        depth=2,
        num_heads=2,
        attention=("talking_heads", "mhsa"),
        tokenizer=PatchConfig(patch_size=2),
        pooling="mean",
    )
    model = create_model(config, num_classes=3, image_size=IMAGE)
    layer = next(module for module in model.modules() if isinstance(module, TalkingHeads))
    with torch.no_grad():
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
    values = attention_entropy(model, torch.randn(2, 3, *IMAGE)).values
    assert np.isnan(values[0]).all()
    assert np.isfinite(values[1]).all()
