"""Inner products of gradients, and the trunk's parameters by stage."""

import pytest
import torch

from hybridvit.hydra.balance.trunk_gradients import gramian, stages
from hybridvit.models import create_backbone


def test_inner_products_of_gradients_longer_than_a_chunk(monkeypatch):
    monkeypatch.setattr("hybridvit.hydra.balance.trunk_gradients.CHUNK", 7)
    rows = [[torch.randn(5, 3), torch.randn(2) if row != 1 else None, torch.randn(7)] for row in range(3)]
    whole = torch.stack([torch.cat([torch.zeros(2) if g is None else g.flatten() for g in row]) for row in rows])
    torch.testing.assert_close(gramian(rows), (whole @ whole.T).double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet16_8", "cct_7_3x1", "convit_tiny", "hybrid_r_tiny"])
def test_stages_hold_every_parameter_once(name):
    backbone = create_backbone(name, image_size=32)
    actual = stages(backbone)
    assert next(iter(actual)) == "stem"
    assert all(len(stage) <= 12 for stage in actual)
    members = [id(p) for group in actual.values() for p in group]
    assert sorted(members) == sorted(id(p) for p in backbone.parameters())
