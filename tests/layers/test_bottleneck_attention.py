"""Attention over the cells of a map against timm's, slow loops, and its own other sizes."""

import pytest
import torch

from hybridvit.layers.bottleneck_attention import BottleneckAttention, ResidualAttention, pairwise_distance

GRID = (5, 7)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize(("channels", "heads"), [(32, 4), (24, 1)])
def test_equals_timm_with_converted_weights(channels, heads, scaled, randomise):
    pytest.importorskip("timm")
    from timm.layers.bottleneck_attn import BottleneckAttn

    theirs = randomise(BottleneckAttn(channels, feat_size=GRID, num_heads=heads, scale_pos_embed=scaled))
    ours = BottleneckAttention(channels, heads, GRID)
    factor = 1 if scaled else (channels // heads) ** 0.5  # timm's other way leaves q · r without the scale
    with torch.no_grad():
        ours.qkv.weight.copy_(theirs.qkv.weight[:, :, 0, 0])
        ours.row_distance.copy_(theirs.pos_embed.height_rel * factor)
        ours.column_distance.copy_(theirs.pos_embed.width_rel * factor)
    x = torch.randn(3, channels, *GRID)
    expected = theirs(x)
    assert expected.std() > 0.01
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)


def test_equals_a_slow_loop(randomise):
    channels, heads, (height, width) = 6, 2, (2, 3)
    attention = randomise(BottleneckAttention(channels, heads, (height, width)).double(), scale=1.0)
    x = torch.randn(1, channels, height, width, dtype=torch.float64)
    depth = channels // heads
    cells = [(row, column) for row in range(height) for column in range(width)]
    projected = {cell: attention.qkv.weight @ x[0, :, cell[0], cell[1]] for cell in cells}
    expected = torch.empty_like(x)
    for head in range(heads):
        part = [slice(kind * channels + head * depth, kind * channels + (head + 1) * depth) for kind in range(3)]
        for a in cells:
            q = projected[a][part[0]]
            logits = []
            for b in cells:
                rows = attention.row_distance[b[0] - a[0] + height - 1]
                columns = attention.column_distance[b[1] - a[1] + width - 1]
                logits.append(q @ (projected[b][part[1]] + rows + columns) / depth**0.5)
            weights = torch.stack(logits).softmax(0)
            mixed = sum(weight * projected[b][part[2]] for weight, b in zip(weights, cells, strict=True))
            expected[0, head * depth : (head + 1) * depth, a[0], a[1]] = mixed
    torch.testing.assert_close(attention(x), expected)


def test_gradients_are_those_of_finite_differences(randomise):
    attention = randomise(BottleneckAttention(4, 2, (2, 3)).double())
    x = torch.randn(1, 4, 2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(attention, (x,))
    attention(x).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in attention.parameters())


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9, 11])
def test_distances_on_another_grid(size):
    """A table that is linear in the distance stays so, at the new scale, with 0 and the ends kept."""
    built = 5
    table = torch.arange(-built + 1.0, built)[:, None] * torch.tensor([1.0, -3.0])
    pairs = pairwise_distance(table, size)
    assert pairs.shape == (size, size, 2)
    scale = (built - 1) / max(size - 1, 1)
    for i in range(size):
        for j in range(size):
            torch.testing.assert_close(pairs[i, j], (j - i) * scale * torch.tensor([1.0, -3.0]), rtol=1e-5, atol=1e-5)


def test_distances_between_entries_are_means_of_neighbours():
    table = torch.randn(5, 4)  # distances -2 .. 2, asked for at steps of a half
    pairs = pairwise_distance(table, 5)
    torch.testing.assert_close(pairs[0, 1], (table[2] + table[3]) / 2)
    torch.testing.assert_close(pairs[4, 0], table[0])
    torch.testing.assert_close(pairs[3, 3], table[2])
    torch.testing.assert_close(pairwise_distance(table[2:3], 4), table[2].expand(4, 4, 4))


@pytest.mark.parametrize("grid", [(1, 1), (1, 6), (4, 2), (9, 11)])
def test_takes_other_grids(grid):
    attention = BottleneckAttention(8, 2, GRID)
    x = torch.randn(2, 8, *grid)
    out = attention(x)
    assert out.shape == x.shape
    assert out.isfinite().all()
    if grid == (1, 1):  # a single cell attends to itself
        torch.testing.assert_close(out[:, :, 0, 0], x[:, :, 0, 0] @ attention.qkv.weight[16:].T)


def test_bf16_is_near(randomise):
    attention = randomise(BottleneckAttention(16, 2, GRID))
    x = torch.randn(2, 16, *GRID)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(x)
    torch.testing.assert_close(out.float(), attention(x), rtol=0.05, atol=0.05)


def test_residual_attention_starts_as_nothing_and_equals_its_definition(randomise):
    block = ResidualAttention(12, 3)
    x = torch.randn(2, 12, 3, 5)
    assert torch.equal(block(x), x)
    block(x).sum().backward()
    assert block.gate.grad.abs() > 0  # the gate can leave 0
    randomise(block)
    tokens = x.flatten(2).transpose(1, 2)
    norm = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
    norm = norm * block.norm.weight + block.norm.bias
    heads = block.attention.weights(norm) @ block.attention.values(norm)
    mixed = block.attention.proj(heads.transpose(1, 2).flatten(2))
    expected = x + block.gate.item() * mixed.transpose(1, 2).reshape(2, 12, 3, 5)
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("build", [lambda: BottleneckAttention(10, 4, GRID), lambda: ResidualAttention(10, 4)])
def test_channels_must_split_over_the_heads(build):
    with pytest.raises(ValueError, match=r"10 .*cannot be split over 4 heads"):
        build()
