"""The running average of the weights, against plain numbers."""

import pytest
import torch
from torch import nn

from hybridvit.training.ema import WeightAverage


class Counter(nn.Module):
    """One weight, a running statistic, and a whole number."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        self.register_buffer("statistic", torch.tensor(10.0, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(0))


@pytest.mark.parametrize("decay", [0.15, 0.3, 0.999])
def test_average_by_formula(decay):
    model = Counter()
    average = WeightAverage(model, decay)
    weight, statistic = torch.zeros(2, dtype=torch.float64), 0.0
    for t in range(12):
        with torch.no_grad():
            model.weight += torch.tensor([0.5, t])
            model.statistic *= 1.5
            model.count += 1
        average.update(model)
        keep = min(decay, (1 + t) / (10 + t)) if t else 0.0  # the first update is a copy
        weight = keep * weight + (1 - keep) * model.weight.detach()
        statistic = keep * statistic + (1 - keep) * model.statistic.item()
        torch.testing.assert_close(average.module.weight.detach(), weight, rtol=1e-12, atol=0)
        assert average.module.statistic.item() == pytest.approx(statistic, rel=1e-12)
        assert average.module.count.item() == t + 1


def test_average_shares_no_memory_with_the_model():
    model = Counter()
    average = WeightAverage(model, 0.9)
    average.update(model)
    with torch.no_grad():
        model.weight.fill_(7)
    assert average.module.weight.tolist() == [1, -2]
    assert model.statistic.data_ptr() != average.module.statistic.data_ptr()


def test_average_goes_on_from_its_state():
    model, first, second = Counter(), None, None
    straight = WeightAverage(model, 0.9)
    for t in range(6):
        with torch.no_grad():
            model.weight += t
        straight.update(model)
        if t < 3:
            first = first or WeightAverage(model, 0.9)
            first.update(model)
        if t == 2:
            second = WeightAverage(Counter(), 0.9)
            second.module.load_state_dict({k: v.clone() for k, v in first.module.state_dict().items()})
            second.updates = t + 1
        if t > 2:
            second.update(model)
    assert torch.equal(straight.module.weight, second.module.weight)
