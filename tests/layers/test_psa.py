"""PSA against the paper's equation in a slow loop, and against the layers that it must equal at its limits."""

import math

import numpy as np
import pytest
import torch
from scipy.special import softmax

from hybridvit.layers import GPSA, MHSA
from hybridvit.layers.gpsa import outer
from hybridvit.layers.psa import PSA

B, H, D = 2, 4, 7
GRIDS = [(3, 5), (5, 3), (1, 7), (7, 11)]


def paper(layer, x, grid):
    """Attention matrix of eq. 4, one query, key and head at a time, in float64."""
    cells = [(y, x) for y in range(grid[0]) for x in range(grid[1])]
    weight = layer.qkv.weight.detach().double().numpy()
    position = layer.position.detach().double().numpy()
    matrix = np.zeros((B, H, len(cells), len(cells)))
    for sample, values in enumerate(x.double().numpy()):
        q, k, _ = np.split(values @ weight.T, 3, axis=1)
        for head in range(H):
            own = slice(head * D, (head + 1) * D)
            for i, (qy, qx) in enumerate(cells):
                scores = []
                for j, (ky, kx) in enumerate(cells):
                    dx, dy = kx - qx, ky - qy
                    scores.append(q[i, own] @ k[j, own] / math.sqrt(D) + position[head] @ (dx, dy, dx**2 + dy**2))
                matrix[sample, head, i] = softmax(scores)
    return matrix


@pytest.mark.parametrize("grid", GRIDS)
def test_it_is_the_papers_equation(grid, randomise):
    layer = randomise(PSA(H * D, H), 0.3)
    x = torch.randn(B, grid[0] * grid[1], H * D)
    np.testing.assert_allclose(layer.weights(x, grid).detach().numpy(), paper(layer, x, grid), rtol=0, atol=2e-6)


def test_without_content_it_is_the_position_branch_of_gpsa(randomise):
    layer, gated = PSA(H * D, H), randomise(GPSA(H * D, H), 0.3)
    with torch.no_grad():
        layer.position.copy_(gated.position)
        layer.qkv.weight[: 2 * H * D].zero_()
    found = layer.weights(torch.randn(1, 15, H * D), (3, 5))[0]
    torch.testing.assert_close(found, outer(*gated.axes((3, 5))), rtol=0, atol=1e-6)


def test_without_position_it_is_plain_attention():
    layer, plain = PSA(H * D, H), MHSA(H * D, H, qkv_bias=False)
    with torch.no_grad():
        layer.position.zero_()
    plain.load_state_dict({name: value for name, value in layer.state_dict().items() if name != "position"})
    x = torch.randn(B, 77, H * D)
    torch.testing.assert_close(layer(x, (7, 11)), plain(x), rtol=0, atol=1e-6)


def test_it_starts_as_gpsa_does():
    gated, layer = GPSA(18, 9, locality_strength=2.0), PSA(18, 9, locality_strength=2.0)
    assert torch.equal(layer.position, gated.position)
    assert torch.equal(layer.qkv.weight[36:], torch.eye(18))
    assert PSA(18, 9, locality_strength=None).position.abs().max() < 0.1


def test_far_apart_scores_stay_exact_in_low_precision(randomise):
    """Positions are added in float32: 27² does not fit into the digits of bfloat16."""
    layer = PSA(H * D, H).bfloat16()
    expected = PSA(H * D, H)
    expected.load_state_dict({name: value.float() for name, value in layer.state_dict().items()})
    assert torch.equal(layer.score_bias(84, (3, 28), torch.bfloat16), expected.score_bias(84, (3, 28), torch.float32))


def test_another_number_of_heads_or_tokens_is_refused():
    with pytest.raises(ValueError, match="must be a perfect square: given 3, nearest 1 or 4"):
        PSA(12, 3)
    with pytest.raises(ValueError, match=r"fill its grid and nothing else: given 16 tokens and grid=\(3, 5\)"):
        PSA(H * D, H)(torch.randn(1, 16, H * D), (3, 5))
