"""Start values: the products of weights that the mimetic start promises, read through the layers themselves."""

import pytest
import torch

from hybridvit.layers import GPSA, LSA, MHSA, TalkingHeads, initialisation
from hybridvit.layers.initialisation import init_mimetic, linear

H, D = 3, 41
DIM = H * D  # 123: expected values hold to a few per cent


def mimetic(kind=MHSA, heads=H, dim=DIM):
    layer = kind(dim, heads)
    init_mimetic(layer.qkv, layer.proj, heads)
    return layer


def query_key(layer):
    """W_q W_kᵀ of every head, ``[h, dim, dim]``, from the scores of unit vectors: x_i W_q W_kᵀ x_j."""
    dim = layer.proj.in_features
    q, k, _ = layer.heads(layer.qkv(torch.eye(dim)[None]))
    return (q @ k.transpose(-2, -1))[0].detach()


def value_proj(layer):
    """W_v W_proj from unit vectors whose values go straight to the output projection."""
    dim = layer.proj.in_features
    values = layer.values(torch.eye(dim)[None]).transpose(1, 2).flatten(2)
    return layer.proj(values)[0].detach()


def expected_share(rank, dim, noise, identity):
    """Mean diagonal of the best approximation of noise·Z + identity·I of this rank, over four draws."""
    found = []
    for seed in range(4):
        z = torch.randn(dim, dim, generator=torch.Generator().manual_seed(seed)) * dim**-0.5
        u, s, v = torch.linalg.svd(noise * z + identity * torch.eye(dim))
        found.append((u[:, :rank] * s[:rank] @ v[:rank]).diagonal().mean().item())
    return sum(found) / len(found)


def test_queries_and_keys_are_the_best_approximation_of_noise_plus_identity():
    """The same draws again: W_q W_kᵀ is the target's singular value decomposition cut off at a head's width."""
    torch.manual_seed(7)
    products = query_key(mimetic())
    torch.manual_seed(7)
    MHSA(DIM, H)  # draws what the layer drew before its mimetic start
    for head in range(H):
        target = 0.7 * torch.randn(DIM, DIM) * DIM**-0.5 + 0.7 * torch.eye(DIM)
        u, s, v = torch.linalg.svd(target)
        torch.testing.assert_close(products[head], u[:, :D] * s[:D] @ v[:D], rtol=0, atol=1e-4)
        assert torch.linalg.matrix_rank(products[head], rtol=1e-4) == D
        rest = torch.linalg.matrix_norm(target - products[head])
        assert rest.item() == pytest.approx(s[D:].norm().item(), rel=1e-3)  # Eckart-Young: nothing is nearer


@pytest.mark.parametrize(("noise", "identity"), [(0.7, 0.7), (0.3, 0.9)])
def test_tokens_attend_to_tokens_like_themselves(noise, identity, monkeypatch):
    monkeypatch.setattr(initialisation, "QUERY_KEY", (noise, identity))
    products = query_key(mimetic())
    expected = expected_share(D, DIM, noise, identity)
    assert expected > 0.15
    for product in products:
        assert product.diagonal().mean().item() == pytest.approx(expected, rel=0.1)
        off = product - torch.diag(product.diagonal())
        assert abs(off.sum().item() / (DIM * (DIM - 1))) < 0.01
    assert query_key(MHSA(DIM, H)).diagonal(dim1=1, dim2=2).mean().abs() < 0.05  # an ordinary start: no such thing


def test_values_and_projection_turn_tokens_around(monkeypatch):
    product = value_proj(mimetic())
    assert product.diagonal().mean().item() == pytest.approx(-0.4, abs=0.02)
    noise = product + 0.4 * torch.eye(DIM)
    assert noise.std().item() == pytest.approx(0.4 * DIM**-0.5, rel=0.05)
    assert noise.mean().abs() < 0.005
    monkeypatch.setattr(initialisation, "VALUE_PROJ", (0.1, 0.8))
    other = value_proj(mimetic())
    assert other.diagonal().mean().item() == pytest.approx(-0.8, abs=0.02)
    assert (other + 0.8 * torch.eye(DIM)).std().item() == pytest.approx(0.1 * DIM**-0.5, rel=0.05)


def test_values_and_projection_have_the_same_size():
    """Each takes the root of every singular value, as do queries and keys."""
    layer = mimetic()
    q, k, v = layer.qkv.weight.split(DIM)
    for one, other in ((v, layer.proj.weight), (q, k)):
        ones, others = torch.linalg.svdvals(one), torch.linalg.svdvals(other)
        if one is v:
            torch.testing.assert_close(ones, others, rtol=1e-3, atol=1e-3)
        assert one.norm().item() == pytest.approx(other.norm().item(), rel=1e-3)
    head_q, head_k = q[:D], k[:D]
    torch.testing.assert_close(torch.linalg.svdvals(head_q), torch.linalg.svdvals(head_k), rtol=1e-3, atol=1e-3)


def test_attention_at_the_start_is_strongest_at_the_token_itself():
    torch.manual_seed(3)
    x = torch.nn.functional.layer_norm(torch.randn(5, 11, DIM), (DIM,))
    weights, plain = mimetic().weights(x), MHSA(DIM, H).weights(x)
    own, other = (w.diagonal(dim1=-2, dim2=-1).mean().item() for w in (weights, plain))
    assert own > 0.5
    assert other < 0.2


@pytest.mark.parametrize("kind", [MHSA, LSA, TalkingHeads])
def test_every_kind_takes_it_and_biases_stay_zero(kind):
    layer = mimetic(kind, heads=4, dim=28)
    assert not layer.qkv.bias.any()
    assert not layer.proj.bias.any()
    assert value_proj(layer).diagonal().mean() < -0.25
    assert layer.qkv.weight.requires_grad
    assert layer(torch.randn(2, 5, 28)).isfinite().all()


@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_start_as_in_the_vit_authors_code(bias):
    layer = linear(47, 101, bias=bias)
    limit = (6 / (47 + 101)) ** 0.5
    assert layer.weight.shape == (101, 47)
    assert 0.99 * limit < layer.weight.abs().max() <= limit
    assert layer.weight.std().item() == pytest.approx(limit / 3**0.5, rel=0.03)
    assert not layer.bias.any() if bias else layer.bias is None


def test_gpsa_starts_at_random_if_no_locality_is_asked_for():
    """The ablation: positions are small noise instead of a window, values are no identity, gates stay at one."""
    layers = [GPSA(36, 9, locality_strength=None) for _ in range(20)]
    positions = torch.stack([layer.position for layer in layers])
    assert positions.std().item() == pytest.approx(0.02, rel=0.1)
    assert positions.mean().abs() < 0.003
    assert all(layer.gate.tolist() == [1.0] * 9 for layer in layers)
    values = layers[0].qkv.weight[72:].detach()
    assert values.abs().max() <= (6 / (36 + 108)) ** 0.5
    assert not torch.equal(values, torch.eye(36))
    windows = GPSA(36, 9, locality_strength=2.0)
    assert windows.position.abs().max() == 4
    assert torch.equal(windows.qkv.weight[72:], torch.eye(36))
