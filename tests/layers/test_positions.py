"""Position embeddings: a loop from the formula, timm's resampling, and what must not change."""

import math

import pytest
import torch

from hybridvit.layers import LearnedPosition, NoPosition, SinCos1DPosition, SinCosPosition
from hybridvit.layers.positions import Position, resample, sincos1d, sincos2d


@pytest.mark.parametrize(("dim", "grid"), [(4, (3, 5)), (20, (3, 5)), (28, (7, 2))])
def test_sincos_by_loop(dim, grid):
    table = sincos2d(dim, grid)
    quarter = dim // 4
    assert table.shape == (grid[0] * grid[1], dim)
    assert table.dtype == torch.float32
    for y in range(grid[0]):
        for x in range(grid[1]):
            for i in range(quarter):
                frequency = 1 / 10_000 ** (i / max(quarter - 1, 1))
                expected = [f(p * frequency) for p in (x, y) for f in (math.sin, math.cos)]
                found = [table[y * grid[1] + x, part * quarter + i].item() for part in range(4)]
                assert found == pytest.approx(expected, abs=1e-6)


def test_sincos_refuses_a_width_that_has_no_quarters():
    with pytest.raises(ValueError, match="divisible by 4, given 30"):
        sincos2d(30, (3, 5))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sincos_position_adds_the_table_of_any_grid(dtype):
    position = SinCosPosition(20, (3, 5)).to(dtype)
    assert not list(position.parameters())
    assert not position.state_dict()
    for grid in ((3, 5), (5, 3), (2, 7)):
        tokens = torch.randn(2, grid[0] * grid[1], 20, dtype=dtype)
        out = position(tokens, grid)
        assert out.dtype == dtype
        assert torch.equal(out, tokens + sincos2d(20, grid).to(dtype))


def test_learned_position_adds_one_vector_per_cell():
    position = LearnedPosition(7, (3, 5))
    tokens = torch.randn(2, 15, 7)
    assert torch.equal(position(tokens, (3, 5)), tokens + position.embedding)
    wide = LearnedPosition(400, (3, 5))
    lengths = wide.embedding.norm(dim=1)
    assert lengths.mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("grid", [(5, 3), (6, 10), (2, 4), (7, 11)])
def test_learned_position_is_resampled_as_timm_does(grid):
    theirs = pytest.importorskip("timm.layers").resample_abs_pos_embed
    position = LearnedPosition(7, (3, 5))
    expected = theirs(position.embedding[None], new_size=list(grid), old_size=[3, 5], num_prefix_tokens=0)[0]
    tokens = torch.randn(2, grid[0] * grid[1], 7)
    torch.testing.assert_close(position(tokens, grid) - tokens, expected.expand(2, -1, -1), rtol=0, atol=1e-5)
    assert torch.equal(position.table(grid), resample(position.embedding, (3, 5), grid))
    assert position.table((3, 5)) is position.embedding
    torch.testing.assert_close(resample(position.embedding, (3, 5), (3, 5)), position.embedding, rtol=0, atol=1e-6)


def test_resampling_keeps_rows_and_columns_apart():
    position = LearnedPosition(2, (3, 5))
    with torch.no_grad():
        y, x = torch.meshgrid(torch.arange(3.0), torch.arange(5.0), indexing="ij")
        position.embedding.copy_(torch.stack([y.flatten(), x.flatten()], dim=1))
    table = position.table((7, 4)).unflatten(0, (7, 4))
    assert (table[:, :, 0].diff(dim=0) > 0).all()
    torch.testing.assert_close(table[:, :1, 0].expand(7, 4), table[:, :, 0])
    assert (table[:, :, 1].diff(dim=1) > 0).all()
    torch.testing.assert_close(table[:1, :, 1].expand(7, 4), table[:, :, 1])


def test_resampling_passes_gradients_to_every_vector():
    position = LearnedPosition(7, (3, 5))
    position(torch.zeros(1, 28, 7), (4, 7)).square().sum().backward()
    assert (position.embedding.grad.abs().sum(dim=1) > 0).all()


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize(("dim", "tokens"), [(6, 7), (7, 6), (20, 15), (1, 3)])
def test_sincos1d_by_loop(dim, tokens, first):
    """The sine of p / 10000^(2i / dim) in channel 2i, its cosine in channel 2i + 1, for positions p from ``first``."""
    table = sincos1d(dim, tokens, first)
    assert table.shape == (tokens, dim)
    assert table.dtype == torch.float32
    for row in range(tokens):
        for channel in range(dim):
            angle = (row + first) / 10_000 ** (2 * (channel // 2) / dim)
            expected = math.cos(angle) if channel % 2 else math.sin(angle)
            assert table[row, channel].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("first", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sincos1d_position_counts_the_cells_row_by_row(dtype, first):
    position = SinCos1DPosition(7, (3, 5), first=first).to(dtype)
    assert not list(position.parameters())
    assert not position.state_dict()
    for grid in ((3, 5), (5, 3), (2, 7)):
        tokens = torch.randn(2, grid[0] * grid[1], 7, dtype=dtype)
        out = position(tokens, grid)
        assert out.dtype == dtype
        assert torch.equal(out, tokens + sincos1d(7, grid[0] * grid[1], first).to(dtype))


@pytest.mark.parametrize("grid", [(3, 5), (4, 7)])
@pytest.mark.parametrize("kind", [LearnedPosition, SinCosPosition, SinCos1DPosition])
def test_vectors_put_beside_the_tokens_leave_them_alone(kind, grid):
    position = kind(8, (3, 5), concat=True)
    tokens = torch.randn(2, grid[0] * grid[1], 13)
    out = position(tokens, grid)
    assert out.shape == (2, grid[0] * grid[1], 21)
    assert torch.equal(out[..., :13], tokens)
    assert torch.equal(out[..., 13:], position.table(grid).expand(2, -1, -1))
    assert position(tokens.bfloat16(), grid).dtype == torch.float32  # under autocast the stream stays precise
    assert position.bfloat16()(tokens.bfloat16(), grid).dtype == torch.bfloat16
    position.float()
    if kind is LearnedPosition:
        out.square().sum().backward()
        assert (position.embedding.grad.abs().sum(1) > 0).all()


def test_a_position_without_a_table_says_so():
    with pytest.raises(TypeError, match="Position has no table"):
        Position(7, (3, 5)).table((3, 5))


def test_no_position_leaves_tokens_alone():
    tokens = torch.randn(2, 15, 7)
    assert NoPosition()(tokens, (3, 5)) is tokens
