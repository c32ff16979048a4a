"""Compiling before training: what it computes, what it leaves alone, and what it refuses.

Compiling takes 10 to 30 seconds of a CPU, so all that needs a compiled net is in one test.
"""

import copy
import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hybridvit.data.batch import Batch
from hybridvit.training import compiled
from hybridvit.training.accelerator import make_accelerator
from hybridvit.training.compiled import compile_net, eager

NO_COMPILER = shutil.which(compiled._cpp_compiler()) is None
SIZES = (5, (7, 11))


class TwoHeads(nn.Module):
    """A convolution, a batch norm and two linear heads on the mean."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 5)})

    def forward(self, images, present=None):
        x = self.norm(self.conv(images)).relu().mean(dim=(2, 3))
        return {name: head(x) for name, head in self.heads.items()}


def batch():
    return Batch(torch.randn(6, 3, 8, 8), {})


def gradients(net, images):
    """The losses, each head's gradient of the convolution, and the gradients of both together."""
    predictions = net(images, None)
    losses = [p.square().mean() for p in predictions.values()]
    own = [torch.autograd.grad(loss, net.conv.weight, retain_graph=True)[0] for loss in losses]
    together = torch.autograd.grad(sum(losses), list(net.parameters()))
    return [*losses, *own, *together]


@pytest.mark.skipif(NO_COMPILER, reason="no C++ compiler")
def test_a_compiled_net_learns_the_same_and_starts_the_same():
    plain = TwoHeads().eval()
    net = make_accelerator("fp32", cpu=True).prepare(copy.deepcopy(plain))
    given = batch()
    after = torch.get_rng_state()
    assert compile_net(net, given, make_accelerator("fp32", cpu=True), SIZES) > 0
    assert torch.equal(torch.get_rng_state(), after)
    assert not net.training
    assert list(net.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(value, plain.state_dict()[key]) for key, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())
    plain.train()
    net.train()
    with torch._dynamo.config.patch(error_on_recompile=True):  # both sizes are there
        for size in SIZES:
            images = F.interpolate(torch.randn(6, 3, 8, 8), size)
            for ours, theirs in zip(gradients(net, images), gradients(plain, images), strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(net.norm.running_var, plain.norm.running_var)
        images = torch.randn(13, 3, 9, 9)  # neither this size nor evaluation is compiled
        with torch.no_grad(), eager(net.eval()):
            found = net(images)["b"]
    plain.load_state_dict(net.state_dict())
    assert torch.equal(found, plain.eval()(images)["b"])
    assert copy.deepcopy(net)._compiled_call_impl is None


def test_a_net_that_is_not_compiled_runs_as_ever():
    net, images = TwoHeads().eval(), torch.randn(2, 3, 5, 5)
    with eager(net):
        inside = net(images)["a"]
    assert torch.equal(inside, net(images)["a"])


def test_what_cannot_be_compiled_is_refused_in_a_line(monkeypatch):
    net, accelerator = TwoHeads(), make_accelerator("fp32", cpu=True)
    with pytest.raises(ValueError, match="torch keeps 8 compiled image sizes, given 9"):
        compile_net(net, batch(), accelerator, range(4, 13))
    with pytest.raises(ValueError, match="image sizes are for one camera: leave them out"):
        compile_net(net, Batch({"left": torch.zeros(2, 3, 5, 5)}, {}), accelerator, (5,))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler, and 'no-such-compiler' is none: set CXX to one"):
        compile_net(net, batch(), accelerator)
    assert net._compiled_call_impl is None
