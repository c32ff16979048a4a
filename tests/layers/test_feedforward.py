"""The MLP and the convolutional feed-forward against numpy with scipy's error function."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import erf

from hybridvit.layers import feedforward
from hybridvit.layers.feedforward import MLP, ConvFeedForward, GELULinear


def test_mlp_by_formula(randomise):
    mlp = randomise(MLP(7, 11, dropout=0.5)).eval()
    x = torch.randn(2, 5, 7)
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in mlp.parameters())
    hidden = x.double().numpy() @ w1.T + b1
    expected = (hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))) @ w2.T + b2
    np.testing.assert_allclose(mlp(x, (1, 5)).detach().numpy(), expected, atol=1e-5)


def test_dropout_after_both_layers(randomise):
    mlp = randomise(MLP(7, 11, dropout=0.25))
    x = torch.randn(1, 4001, 7)
    hidden = []
    mlp.fc2.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
    out = mlp(x)
    for tensor in (hidden[0], out):
        assert abs((tensor == 0).float().mean().item() - 0.25) < 0.01
    mlp.eval()
    assert torch.equal(mlp(x), mlp(x))
    kept = hidden[0] != 0
    torch.testing.assert_close(hidden[0][kept], hidden[1][kept] / 0.75)


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def as_array(tensor):
    return tensor.detach().double().numpy()


def paper(layer, x, grid, training):
    """DAFF in float64 on ``[b, gh, gw, d]`` arrays, neighbours one by one."""
    p = x.shape[1] - grid[0] * grid[1]
    prefix, patches = x[:, :p], x[:, p:].reshape(len(x), *grid, -1)

    def linear(module, t):
        return t @ as_array(module.weight).T + as_array(module.bias)

    def norm(module, t):
        if training:
            mean, var = t.mean(axis=(0, 1, 2)), t.var(axis=(0, 1, 2))
        else:
            mean, var = as_array(module.running_mean), as_array(module.running_var)
        return (t - mean) / np.sqrt(var + 1e-5) * as_array(module.weight) + as_array(module.bias)

    hidden = gelu(norm(layer.norm1, linear(layer.fc1, patches)))
    kernel = as_array(layer.depthwise.weight)[:, 0]
    around = np.zeros_like(hidden) + as_array(layer.depthwise.bias)
    for y in range(grid[0]):
        for column in range(grid[1]):
            for dy in (-1, 0, 1):
                for dx in (-1, 0, 1):
                    if 0 <= y + dy < grid[0] and 0 <= column + dx < grid[1]:
                        around[:, y, column] += hidden[:, y + dy, column + dx] * kernel[:, dy + 1, dx + 1]
    hidden = hidden + gelu(norm(layer.norm2, around))
    patches = norm(layer.norm3, linear(layer.fc2, hidden)).reshape(len(x), grid[0] * grid[1], -1)
    if not p:
        return patches
    weights = linear(layer.excite, gelu(linear(layer.squeeze, patches.mean(axis=1))))
    return np.concatenate([prefix * weights[:, None], patches], axis=1)


def conv_feedforward(randomise, **settings):
    layer = randomise(ConvFeedForward(8, 11, **settings))
    for norm in (layer.norm1, layer.norm2, layer.norm3):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return layer


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("prefix", [0, 1, 3])
@pytest.mark.parametrize("grid", [(3, 5), (7, 2), (1, 1), (1, 11)])
def test_conv_feedforward_neighbour_by_neighbour(grid, prefix, training, randomise):
    layer = conv_feedforward(randomise).train(training)
    x = torch.randn(3, prefix + grid[0] * grid[1], 8)
    expected = paper(layer, as_array(x), grid, training)
    np.testing.assert_allclose(as_array(layer(x, grid)), expected, atol=1e-5)


def test_conv_feedforward_without_prefix(randomise):
    layer = conv_feedforward(randomise, prefix=False).eval()
    assert {name.split(".")[0] for name, _ in layer.named_parameters()} == {
        *("fc1", "norm1", "depthwise", "norm2", "fc2", "norm3")
    }
    x = torch.randn(2, 15, 8)
    np.testing.assert_allclose(as_array(layer(x, (3, 5))), paper(layer, as_array(x), (3, 5), False), atol=1e-5)
    with pytest.raises(
        ValueError, match="16 tokens on a grid of 3 x 5: expected 15 tokens: prefix=False takes no more"
    ):
        layer(torch.randn(2, 16, 8), (3, 5))


def test_conv_feedforward_refuses_too_few_tokens():
    with pytest.raises(ValueError, match="14 tokens on a grid of 3 x 5: expected 15 tokens or more"):
        ConvFeedForward(8, 11)(torch.randn(2, 14, 8), (3, 5))


def test_conv_feedforward_reduces_by_four_and_never_to_nothing():
    assert ConvFeedForward(20, 8).squeeze.weight.shape == (5, 20)
    assert ConvFeedForward(3, 8).squeeze.weight.shape == (1, 3)


def test_conv_feedforward_gradients_in_float64():
    layer = ConvFeedForward(4, 3).double()
    x = torch.randn(2, 7, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: layer(t, (2, 3)), x)


def test_conv_feedforward_never_copies_into_another_order():
    layer = ConvFeedForward(8, 12)
    seen = {}
    for name in ("norm1", "depthwise", "norm2", "fc2", "norm3"):
        layer.get_submodule(name).register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    conv_out = []
    layer.depthwise.register_forward_hook(lambda _, args, out: conv_out.append(out))
    layer(torch.randn(2, 1 + 15, 8), (3, 5))
    maps = seen.pop("depthwise")
    assert maps.shape == (2, 12, 3, 5)
    assert maps.is_contiguous(memory_format=torch.channels_last)
    assert seen["norm2"].data_ptr() == conv_out[0].data_ptr()
    assert all(tokens.ndim == 2 and tokens.is_contiguous() for tokens in seen.values())


def test_conv_feedforward_dropout(randomise):
    layer = conv_feedforward(randomise, dropout=0.25)
    hidden = []
    layer.fc2.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
    out = layer(torch.randn(40, 1 + 99, 8), (9, 11))
    for tensor in (hidden[0], out):
        assert abs((tensor == 0).float().mean().item() - 0.25) < 0.01
    layer.eval()
    x = torch.randn(2, 16, 8)
    assert torch.equal(layer(x, (3, 5)), layer(x, (3, 5)))


def double(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_gelu_that_is_computed_again_has_the_right_derivatives():
    inputs = (double(2, 3, 5), double(7, 5), double(7))
    out = GELULinear.apply(*inputs)
    assert torch.equal(out, F.linear(F.gelu(inputs[0]), inputs[1], inputs[2]))
    assert torch.autograd.gradcheck(GELULinear.apply, inputs, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(GELULinear.apply, inputs)


def test_gradients_of_single_samples_through_it():
    x, weight, bias = double(4, 3, 5).detach(), double(7, 5).detach(), double(7).detach()

    def loss(kind, weight, sample):
        return kind(sample, weight, bias).square().sum()

    def plain(x, weight, bias):
        return F.linear(F.gelu(x), weight, bias)

    found, expected = (
        torch.func.vmap(torch.func.grad(partial(loss, kind)), (None, 0))(weight, x)
        for kind in (GELULinear.apply, plain)
    )
    torch.testing.assert_close(found, expected)


def kept_bytes(layer, x):
    """The memory that a forward pass keeps for the backward pass, parameters apart."""
    own = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = layer(x)
    return sum(kept.values()), out


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_an_mlp_on_an_accelerator_keeps_less_and_gives_the_same(monkeypatch, precision):
    layer = MLP(12, 48)
    x = torch.randn(2, 35, 12, requires_grad=True)
    results = []
    for again in (False, True):
        monkeypatch.setattr(feedforward, "recomputes_gelu", lambda hidden, again=again: again)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            kept, out = kept_bytes(layer, x)
        gradients = torch.autograd.grad(out.float().square().sum(), [x, *layer.parameters()])
        results.append((kept, out, gradients))
    (full, out, gradients), (less, same, others) = results
    assert full - less >= 2 * 35 * 48 * precision.itemsize
    assert torch.equal(out, same)
    for expected, found in zip(gradients, others, strict=True):
        tolerance = 1e-5 if precision == torch.float32 else 2e-2
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


def test_a_cpu_keeps_what_it_computed():
    hidden = torch.randn(3, requires_grad=True)
    assert not feedforward.recomputes_gelu(hidden)
    assert feedforward.recomputes_gelu(hidden.to("meta"))
    assert not feedforward.recomputes_gelu(hidden.detach().to("meta"))
