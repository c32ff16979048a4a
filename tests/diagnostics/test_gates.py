"""The gates of a model, set by hand."""

import numpy as np
import torch

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.diagnostics import gates
from hybridvit.layers import GPSA
from hybridvit.models import create_model

CONFIG = ViTConfig(
    embed_dim=16,
    depth=3,
    num_heads=4,
    tokenizer=PatchConfig(patch_size=2),
    attention=("gpsa", "gpsa", "mhsa"),
    class_token_layer=2,
)


def test_gates_are_listed_by_layer_and_head():
    model = create_model(CONFIG, num_classes=3, image_size=8)
    np.testing.assert_allclose(gates(model), np.full((2, 4), 1 / (1 + np.exp(-1))), atol=1e-6)
    values = torch.tensor([[0.0, np.log(3), -np.log(3), 100], [-100, np.log(9), 0, np.log(4)]])
    with torch.no_grad():
        for layer, value in zip([m for m in model.modules() if isinstance(m, GPSA)], values, strict=True):
            layer.gate.copy_(value)
    found = gates(model)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [[0.5, 0.75, 0.25, 1], [0, 0.9, 0.5, 0.8]], atol=1e-6)


def test_a_model_without_gpsa_has_no_gates():
    assert gates(create_model("vit_lite_7_4", num_classes=3, image_size=8)).shape == (0, 0)


def test_reading_leaves_the_model_as_it_was():
    model = create_model(CONFIG, num_classes=3, image_size=8)
    found = gates(model)
    found[:] = 7
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert (gates(model) < 1).all()
