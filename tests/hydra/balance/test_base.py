"""The plain and the fixed sum of the losses."""

import pytest
import torch

from hybridvit.hydra.balance.base import FixedConfig, SumConfig


def test_one_task_costs_nothing_beyond_its_loss():
    balance, passed = SumConfig().build(("only",)), []
    loss = torch.tensor(2.5, requires_grad=True)
    total = balance.backward({"only": loss}, {"only": torch.tensor(True)}, None, passed.append)
    assert passed[0] is loss
    assert float(total) == 2.5
    assert not total.requires_grad


def test_weights_must_name_the_tasks():
    with pytest.raises(ValueError, match=r"no task 'colur': did you mean colour\?"):
        FixedConfig(weights={"colur": 1.0, "shape": 1.0}).build(("colour", "shape"))
    with pytest.raises(ValueError, match="lacks task 'shape'"):
        FixedConfig(weights={"colour": 1.0}).build(("colour", "shape"))
