"""GPSA against the paper's equation, timm's layer, and what its convolutional start promises."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.special import expit, softmax
from torch.utils._python_dispatch import TorchDispatchMode

from hybridvit.layers import attention, gpsa
from hybridvit.layers.attention import Kernel, merge_heads
from hybridvit.layers.gpsa import GPSA, apply_on_grid, outer

B, H, D = 2, 4, 7
GRIDS = [(3, 5), (5, 3), (1, 7), (1, 1), (7, 11)]


def offsets(grid):
    """(δx, δy) from query i to key j, ``[n, n]`` each."""
    cells = [(y, x) for y in range(grid[0]) for x in range(grid[1])]
    dx = np.array([[kx - qx for _, kx in cells] for _, qx in cells])
    dy = np.array([[ky - qy for ky, _ in cells] for qy, _ in cells])
    return dx, dy


def position_attention(layer, grid):
    """softmax_j(v_h · (δx, δy, δx² + δy²)) in float64, ``[h, n, n]``."""
    dx, dy = offsets(grid)
    relative = np.stack([dx, dy, dx**2 + dy**2], axis=-1)
    return softmax(np.einsum("ijc,hc->hij", relative, layer.position.detach().double().numpy()), axis=-1)


def paper(layer, x, grid):
    """Attention matrix and output of eq. 6-8, one query, key and head at a time."""
    x = x.double().numpy()
    b, n, dim = x.shape
    w = layer.qkv.weight.detach().double().numpy()
    bias = np.zeros(3 * dim) if layer.qkv.bias is None else layer.qkv.bias.detach().double().numpy()
    h, d = layer.num_heads, dim // layer.num_heads
    gate = expit(layer.gate.detach().double().numpy())
    position = position_attention(layer, grid)
    matrix, mixed = np.zeros((b, h, n, n)), np.zeros((b, n, dim))
    for sample in range(b):
        q, k, v = np.split(x[sample] @ w.T + bias, 3, axis=1)
        for head in range(h):
            own = slice(head * d, (head + 1) * d)
            for i in range(n):
                content = softmax([q[i, own] @ k[j, own] / math.sqrt(d) for j in range(n)])
                row = (1 - gate[head]) * content + gate[head] * position[head, i]
                matrix[sample, head, i] = row
                mixed[sample, i, own] = row @ v[:, own]
    proj = layer.proj
    return matrix, mixed @ proj.weight.detach().double().numpy().T + proj.bias.detach().double().numpy()


def as_array(tensor):
    return tensor.detach().double().numpy()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("grid", GRIDS)
def test_equals_the_equation_of_the_paper(grid, bias, randomise):
    layer = randomise(GPSA(H * D, H, qkv_bias=bias))
    x = torch.randn(B, grid[0] * grid[1], H * D)
    matrix, out = paper(layer, x, grid)
    np.testing.assert_allclose(as_array(layer.weights(x, grid)), matrix, atol=1e-6)
    np.testing.assert_allclose(as_array(layer(x, grid)), out, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("side", [3, 7, 9])
def test_equals_timm_with_the_same_weights(side, bias, randomise):
    convit = pytest.importorskip("timm.models.convit")
    theirs = randomise(convit.GPSA(H * D, H, qkv_bias=bias))
    ours = GPSA(H * D, H, qkv_bias=bias)
    with torch.no_grad():
        ours.qkv.weight.copy_(torch.cat([theirs.qk.weight, theirs.v.weight]))
        if bias:
            ours.qkv.bias.copy_(torch.cat([theirs.qk.bias, theirs.v.bias]))
        ours.proj.load_state_dict(theirs.proj.state_dict())
        ours.position.copy_(theirs.pos_proj.weight)  # the bias of pos_proj cancels in its softmax
        ours.gate.copy_(theirs.gating_param)
    x = torch.randn(B, side * side, H * D)
    torch.testing.assert_close(ours(x, (side, side)), theirs(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.weights(x, (side, side)), theirs.get_attention(x), rtol=0, atol=1e-6)


@pytest.mark.parametrize("grid", GRIDS)
def test_factors_multiply_to_the_softmax_over_the_whole_grid(grid, randomise):
    layer = randomise(GPSA(H * D, H))
    p_y, p_x = layer.axes(grid)
    assert p_y.shape == (H, grid[0], grid[0])
    assert p_x.shape == (H, grid[1], grid[1])
    np.testing.assert_allclose(as_array(outer(p_y, p_x)), position_attention(layer, grid), atol=1e-6)


def test_outer_and_apply_on_grid_are_the_kronecker_product():
    p_y, p_x = torch.randn(H, 3, 3, dtype=torch.float64), torch.randn(H, 5, 5, dtype=torch.float64)
    v = torch.randn(B, H, 15, D, dtype=torch.float64)
    kron = np.stack([np.kron(y, x) for y, x in zip(p_y.numpy(), p_x.numpy(), strict=True)])
    np.testing.assert_allclose(outer(p_y, p_x).numpy(), kron, atol=1e-12)
    np.testing.assert_allclose(apply_on_grid(p_y, p_x, v).numpy(), kron @ v.numpy(), atol=1e-12)


class LargestTensor(TorchDispatchMode):
    """Notes the element count of the largest tensor that any operation returns."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, torch.Tensor):
                self.numel = max(self.numel, value.numel())
        return out


@pytest.mark.parametrize("grid", [(4, 16), (8, 11), (13, 7)])
def test_no_position_matrix_from_64_tokens_on(grid):
    """Forward and backward: nothing larger than the values, where a matrix has n / d times their size."""
    n, d = grid[0] * grid[1], 16
    layer = GPSA(H * d, H)
    v = torch.randn(1, H, n, d, requires_grad=True)
    with LargestTensor() as seen:
        apply_on_grid(*layer.axes(grid), v).sum().backward()
    assert seen.numel == H * n * d
    with LargestTensor() as seen:  # the whole layer: nothing beyond the q, k, v it cannot do without
        layer(torch.randn(1, n, H * d), grid).sum().backward()
    assert seen.numel == max(3 * H * n * d, 3 * (H * d) ** 2) < H * n * n
    with LargestTensor() as seen:
        layer.weights(torch.randn(1, n, H * d), grid)
    assert seen.numel >= H * n * n  # the meter sees an n x n matrix where there is one


@pytest.mark.parametrize("heads", [4, 9])
@pytest.mark.parametrize("grid", [(3, 5), (7, 11)])
def test_sharp_convolutional_start_is_a_shift_of_the_image(heads, grid):
    """Each head copies one cell of its window (for even windows the mean of 2x2); outside, the nearest cell."""
    side = math.isqrt(heads)
    layer = GPSA(heads * D, heads, locality_strength=300.0)
    with torch.no_grad():
        layer.gate.fill_(60.0)
        layer.proj.weight.copy_(torch.eye(heads * D))
        layer.proj.bias.zero_()
    x = torch.randn(B, grid[0] * grid[1], heads * D)
    image = x.transpose(1, 2).unflatten(2, grid)
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    kernel = torch.zeros(heads, 3, 3)
    for head in range(heads):
        row, column = divmod(head, side)
        if side == 3:
            kernel[head, row, column] = 1.0
        else:
            kernel[head, row : row + 2, column : column + 2] = 0.25
    expected = F.conv2d(padded, kernel.repeat_interleave(D, 0)[:, None], groups=heads * D)
    torch.testing.assert_close(layer(x, grid), expected.flatten(2).transpose(1, 2), rtol=0, atol=1e-5)


def test_convolutional_start_by_hand(randomise):
    four, nine = GPSA(28, 4), GPSA(63, 9, locality_strength=2.0)
    assert four.position.tolist() == [[-1, -1, -1], [1, -1, -1], [-1, 1, -1], [1, 1, -1]]
    assert nine.position.tolist() == [[4.0 * x, 4.0 * y, -2.0] for y in (-1, 0, 1) for x in (-1, 0, 1)]
    for layer in (four, nine):
        dim = layer.proj.in_features
        assert torch.equal(layer.qkv.weight[2 * dim :], torch.eye(dim))
        assert not torch.equal(layer.qkv.weight[:dim], torch.eye(dim))
        torch.testing.assert_close(layer.gates(), torch.full((layer.num_heads,), 0.7310586), rtol=0, atol=1e-6)
    start = {k: v.clone() for k, v in nine.state_dict().items()}
    randomise(nine).init_convolutional(2.0)
    for name in ("position", "gate"):
        assert torch.equal(nine.state_dict()[name], start[name])
    assert torch.equal(nine.qkv.weight[126:], start["qkv.weight"][126:])


def test_start_with_no_locality_looks_everywhere_alike():
    p_y, p_x = GPSA(28, 4, locality_strength=0.0).axes((3, 5))
    torch.testing.assert_close(outer(p_y, p_x), torch.full((4, 15, 15), 1 / 15))


@pytest.mark.parametrize("grid", [(3, 5), (7, 11)])
@pytest.mark.parametrize("gate", [-1000.0, -100.0, 30.0, 100.0, 1000.0])
def test_extreme_gates_stay_finite_and_exact(gate, grid, randomise):
    layer = randomise(GPSA(H * D, H))
    with torch.no_grad():
        layer.gate.fill_(gate)
    x = torch.randn(B, grid[0] * grid[1], H * D)
    matrix, expected = paper(layer, x, grid)
    out = layer(x, grid)
    np.testing.assert_allclose(as_array(out), expected, atol=1e-5)
    np.testing.assert_allclose(as_array(layer.weights(x, grid)), matrix, atol=1e-6)
    out.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("grid", [(3, 5), (7, 11)])
@pytest.mark.parametrize("gate", [0.5, 9.0, 30.0, 100.0])
def test_large_gates_under_autocast(gate, grid, dtype, randomise):
    layer = randomise(GPSA(H * D, H), scale=0.2)
    with torch.no_grad():
        layer.gate.fill_(gate)
    x = torch.randn(B, grid[0] * grid[1], H * D)
    expected = layer(x, grid)
    with torch.autocast("cpu", dtype=dtype):
        out = layer(x, grid).float()
    error = (out - expected).abs().max() / expected.abs().max()
    assert error < 0.03, f"relative error {error}"


@pytest.mark.parametrize("grid", [(3, 5), (7, 11)])
def test_a_layer_in_bf16_is_near_one_in_fp32(grid, randomise):
    layer = randomise(GPSA(H * D, H), scale=0.2)
    x = torch.randn(B, grid[0] * grid[1], H * D)
    expected = layer(x, grid)
    out = layer.bfloat16()(x.bfloat16(), grid)
    assert out.dtype == torch.bfloat16
    assert layer.axes(grid)[0].dtype == torch.float32
    assert (out.float() - expected).abs().max() / expected.abs().max() < 0.05


@pytest.mark.parametrize(("grid", "fused"), [((2, 3), False), ((2, 3), True), ((7, 11), True)])
def test_gradients_against_finite_differences(grid, fused, randomise, monkeypatch):
    monkeypatch.setattr(attention, "choose_kernel", lambda *_: Kernel(fused, torch.float64))
    monkeypatch.setattr(gpsa, "DENSE_TOKENS", 0 if fused else 64)
    layer = randomise(GPSA(8, 4, qkv_bias=True)).double()
    names = [name for name, _ in layer.named_parameters()]
    assert {"position", "gate"} <= set(names)

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x, grid))

    x = torch.randn(2, grid[0] * grid[1], 8, dtype=torch.float64, requires_grad=True)
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)


def test_the_gate_moves_between_content_and_position(randomise):
    layer = randomise(GPSA(H * D, H))
    x, grid = torch.randn(B, 15, H * D), (3, 5)
    with torch.no_grad():
        layer.gate.copy_(torch.tensor([-30.0, 0.0, math.log(3), 30.0]))
    np.testing.assert_allclose(as_array(layer.gates()), [0, 0.5, 0.75, 1], atol=1e-6)
    weights = layer.weights(x, grid)
    position = torch.from_numpy(position_attention(layer, grid)).float()
    torch.testing.assert_close(weights[0, 3], position[3])  # the same for every image
    assert torch.equal(weights[0, 3], weights[1, 3])
    assert not torch.allclose(weights[0, 0], weights[1, 0], atol=1e-3)
    content = (weights[:, 1] - 0.5 * position[1]) / 0.5
    torch.testing.assert_close(content.sum(-1), torch.ones(B, 15))


@pytest.mark.parametrize(("heads", "nearest"), [(3, "1 or 4"), (8, "4 or 9"), (12, "9 or 16")])
def test_head_count_that_is_no_square_is_refused(heads, nearest):
    with pytest.raises(ValueError, match=f"perfect square.*given {heads}, nearest {nearest}"):
        GPSA(heads * 2, heads)


@pytest.mark.parametrize("grid", [None, (3, 4), (4, 4), (15, 2)])
@pytest.mark.parametrize("method", ["forward", "weights"])
def test_grid_that_does_not_hold_the_tokens_is_refused(grid, method):
    layer = GPSA(H * D, H)
    with pytest.raises(ValueError, match="given 15 tokens and grid="):
        getattr(layer, method)(torch.randn(B, 15, H * D), grid)


def test_values_are_those_that_weights_mix(randomise):
    layer = randomise(GPSA(H * D, H, qkv_bias=True))
    x = torch.randn(B, 15, H * D)
    expected = F.linear(x, layer.qkv.weight[2 * H * D :], layer.qkv.bias[2 * H * D :])
    torch.testing.assert_close(merge_heads(layer.values(x)), expected)
