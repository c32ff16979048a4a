"""The relative position bias against a loop over all pairs of cells, and what it does to attention."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from hybridvit.layers import LSA, MHSA, RelativeBias, TalkingHeads
from hybridvit.layers.relative import offset_index, resample_table

H, D = 3, 5
GRIDS = [(3, 5), (5, 2), (1, 7), (7, 1), (1, 1)]


def by_loop(table, grid, prefix=0):
    """The bias of every pair of cells, one at a time: the table's entry at their offset in rows and columns."""
    rows, columns = grid
    n = rows * columns
    bias = np.zeros((len(table), prefix + n, prefix + n))
    for y in range(rows):
        for x in range(columns):
            for ky in range(rows):
                for kx in range(columns):
                    entry = table[:, ky - y + rows - 1, kx - x + columns - 1]
                    bias[:, prefix + y * columns + x, prefix + ky * columns + kx] = entry.detach().numpy()
    return bias


@pytest.mark.parametrize("prefix", [0, 1, 2])
@pytest.mark.parametrize("grid", GRIDS)
def test_every_pair_of_cells_has_the_entry_of_its_offset(grid, prefix, randomise):
    layer = randomise(RelativeBias(H, grid))
    assert layer.table.shape == (H, 2 * grid[0] - 1, 2 * grid[1] - 1)
    bias = layer(prefix + grid[0] * grid[1], grid)
    np.testing.assert_array_equal(bias.detach().numpy(), by_loop(layer.table, grid, prefix).astype(np.float32))
    assert not bias[:, :prefix].any()
    assert not bias[:, :, :prefix].any()


def test_it_starts_at_zero_and_holds_only_its_table():
    layer = RelativeBias(H, (3, 5))
    assert not layer(15, (3, 5)).any()
    assert set(layer.state_dict()) == {"table"}


@pytest.mark.parametrize("grid", [(5, 3), (4, 7), (2, 2), (1, 5), (6, 10)])
def test_another_grid_resamples_the_table(grid, randomise):
    layer = randomise(RelativeBias(H, (3, 5)))
    size = (2 * grid[0] - 1, 2 * grid[1] - 1)
    table = functional.interpolate(layer.table[None], size=size, mode="bicubic", align_corners=True)[0]
    bias = layer(2 + grid[0] * grid[1], grid)
    np.testing.assert_allclose(bias.detach().numpy(), by_loop(table, grid, prefix=2), atol=1e-6)


def test_resampling_keeps_the_outermost_and_the_zero_offset_and_what_is_linear():
    """Rows and columns stay apart, and an offset of nothing stays one: it is the middle of both tables."""
    table = torch.randn(H, 5, 9)
    for grid in ((4, 3), (2, 7), (6, 6)):
        found = resample_table(table, grid)
        assert found.shape == (H, 2 * grid[0] - 1, 2 * grid[1] - 1)
        torch.testing.assert_close(found[:, grid[0] - 1, grid[1] - 1], table[:, 2, 4], rtol=0, atol=1e-5)
        for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            torch.testing.assert_close(found[:, *corner], table[:, *corner], rtol=0, atol=1e-5)
    rows = torch.arange(5.0)[None, :, None].expand(1, 5, 9)
    found = resample_table(rows, (5, 4))
    torch.testing.assert_close(found, found[:, :, :1].expand(1, 9, 7))
    assert (found[0, :, 0].diff() > 0).all()
    half = resample_table(table.bfloat16(), (4, 3))
    assert half.dtype == torch.bfloat16


def test_gradients_reach_every_entry_as_often_as_its_offset_occurs():
    layer = RelativeBias(H, (3, 5))
    layer(17, (3, 5)).sum().backward()
    counts = [[(3 - abs(dy)) * (5 - abs(dx)) for dx in range(-4, 5)] for dy in range(-2, 3)]
    assert layer.table.grad.tolist() == [[[float(number) for number in row] for row in counts]] * H
    other = RelativeBias(H, (3, 5))
    other(28, (4, 7)).sum().backward()
    assert (other.table.grad.abs() > 0).all()


@pytest.mark.parametrize("kind", [MHSA, LSA, TalkingHeads])
@pytest.mark.parametrize("grid", [(3, 5), (7, 11)])  # both kernels
def test_gradients_reach_the_table_through_attention(kind, grid, randomise):
    layer = randomise(kind(H * D, H, bias=RelativeBias(H, grid)))
    layer(torch.randn(2, 2 + grid[0] * grid[1], H * D), grid).square().sum().backward()
    reached = layer.bias.table.grad.abs() > 0
    if kind is LSA:  # which masks the one offset of a cell to itself
        assert not reached[:, grid[0] - 1, grid[1] - 1].any()
        reached[:, grid[0] - 1, grid[1] - 1] = True
    assert reached.all()


@pytest.mark.parametrize("prefix", [0, 2])
@pytest.mark.parametrize("grid", [(3, 5), (7, 11)])
def test_attention_adds_it_to_the_scores(grid, prefix, randomise):
    layer = randomise(MHSA(H * D, H, bias=RelativeBias(H, grid)), scale=0.5).double()
    n = prefix + grid[0] * grid[1]
    x = torch.randn(2, n, H * D, dtype=torch.float64)
    q, k, v = layer.qkv(x).reshape(2, n, 3, H, D).permute(2, 0, 3, 1, 4)
    bias = torch.from_numpy(by_loop(layer.bias.table, grid, prefix))
    weights = (torch.einsum("bhid,bhjd->bhij", q, k) / D**0.5 + bias).softmax(-1)
    torch.testing.assert_close(layer.weights(x, grid), weights, rtol=0, atol=1e-12)
    expected = layer.proj(torch.einsum("bhij,bhjd->bihd", weights, v).flatten(2))
    torch.testing.assert_close(layer(x, grid), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_symmetric_table_makes_attention_blind_to_mirrors(axis, randomise):
    """Mirrored tokens give mirrored results if the table is its own mirror image, and else not."""
    grid = (3, 5)
    layer = randomise(MHSA(H * D, H, bias=RelativeBias(H, grid)))
    x = torch.randn(2, 15, H * D)

    def mirrored(tokens):
        return tokens.unflatten(1, grid).flip(axis).flatten(1, 2)

    assert not torch.allclose(layer(mirrored(x), grid), mirrored(layer(x, grid)), atol=1e-3)
    with torch.no_grad():
        layer.bias.table.copy_((layer.bias.table + layer.bias.table.flip(axis)) / 2)
    torch.testing.assert_close(layer(mirrored(x), grid), mirrored(layer(x, grid)), rtol=0, atol=1e-5)


def test_a_sharp_table_shifts_the_image(randomise):
    """All attention goes one row down and two columns left: the offset of the table's one large entry."""
    grid, (dy, dx) = (3, 5), (1, -2)
    layer = randomise(MHSA(H * D, H, bias=RelativeBias(H, grid)), scale=0.1)
    with torch.no_grad():
        layer.bias.table.zero_()[:, dy + 2, dx + 4] = 100.0
    weights = layer.weights(torch.randn(2, 15, H * D), grid)
    for y in range(2):
        for x in range(2, 5):
            ahead = weights[:, :, y * 5 + x, (y + dy) * 5 + x + dx]
            torch.testing.assert_close(ahead, torch.ones(2, H), rtol=0, atol=1e-6)


@pytest.mark.parametrize("grid", [None, (4, 4), (3, 6)])
def test_a_grid_that_does_not_fit_is_refused(grid):
    layer = MHSA(H * D, H, bias=RelativeBias(H, (3, 5)))
    for method in (layer, layer.weights):
        with pytest.raises(ValueError, match="needs the grid of its tokens: given 15 and grid="):
            method(torch.randn(2, 15, H * D), grid)


def test_offsets_of_two_cells_by_hand():
    assert offset_index((1, 2)).tolist() == [[1, 2], [0, 1]]
    assert offset_index((2, 1)).tolist() == [[1, 2], [0, 1]]
    assert offset_index((2, 2)).tolist() == [[4, 5, 7, 8], [3, 4, 6, 7], [1, 2, 4, 5], [0, 1, 3, 4]]
