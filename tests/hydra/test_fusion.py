"""Fusion of cameras against slow loops of its formulas, and cameras that are missing."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from hybridvit.backbones.features import FeatureSpec
from hybridvit.data.rig import Camera, Rig
from hybridvit.data.synthetic.dataset import ring_of_cameras
from hybridvit.hydra.fusion import AttentionFusion, BEVFusion
from hybridvit.hydra.views import ViewsConfig

GRIDS = {"front": (2, 3), "left": (3, 2), "rear": (1, 5)}
IN, DIM, HEADS, HIDDEN, GRID = 7, 12, 3, 13, (3, 5)
SPECS = {view: FeatureSpec(IN, grid, 0, "mean", {}) for view, grid in GRIDS.items()}
BATCH = 4
PRESENT = {
    "front": torch.tensor([True, False, True, False]),
    "left": torch.tensor([True, True, False, False]),
    "rear": torch.tensor([True, True, True, True]),
}


def config(depth, **fields):
    return ViewsConfig(grid=GRID, embed_dim=DIM, num_heads=HEADS, depth=depth, mlp_ratio=HIDDEN / DIM, **fields)


def attention(depth=1):
    return AttentionFusion(config(depth), SPECS)


def bev(depth=1):
    rng = np.random.default_rng(5)
    cameras = {view: camera(rng.standard_normal((*grid, 3)), rng.standard_normal(3)) for view, grid in GRIDS.items()}
    fields = config(depth, fusion="bev", extent=(-2.0, 9.0, -4.0, 3.0))
    return BEVFusion(fields, SPECS, SimpleNamespace(cameras=cameras, bev_cells=Rig.bev_cells))


def camera(rays, position):
    """A camera whose tokens look along these rays ``[gh, gw, 3]``."""
    unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    return SimpleNamespace(rays=lambda grid: unit, position=position)


KINDS = pytest.mark.parametrize("make", [attention, bev])


def tokens():
    return {view: torch.randn(BATCH, rows * columns, IN) for view, (rows, columns) in GRIDS.items()}


# Slow loops, in float64 and numpy: one sample, one query, one head, one camera and one token at a time.


def layer_norm(x, norm):
    x = (x - x.mean()) / math.sqrt(x.var() + 1e-6)
    return x * array(norm.weight) + array(norm.bias)


def rms_norm(x, norm):
    return x / math.sqrt((x**2).mean() + 1e-6) * array(norm.weight)


def array(x):
    return x.detach().double().numpy()


def linear(x, layer):
    return array(layer.weight) @ x + (array(layer.bias) if layer.bias is not None else 0)


def mlp(x, layer):
    hidden = linear(x, layer.fc1)
    return linear(np.array([h * (1 + math.erf(h / math.sqrt(2))) / 2 for h in hidden]), layer.fc2)


def attend(queries, keys, values):
    """One softmax over all (camera, token) pairs for each head: queries are given for every camera."""
    width, out = DIM // HEADS, []
    for head in range(HEADS):
        part = slice(head * width, (head + 1) * width)
        scores = {pair: queries[pair[0]][part] @ key[part] / math.sqrt(width) for pair, key in keys.items()}
        total = sum(math.exp(score) for score in scores.values())
        out.append(sum(math.exp(score) / total * values[pair][part] for pair, score in scores.items()))
    return np.concatenate(out)


def features_of(fusion, views, sample):
    return {
        (view, i): linear(layer_norm(array(x[sample, i]), fusion.feature[0]), fusion.feature[1])
        for view, x in views.items()
        for i in range(x.shape[1])
    }


def slow_attention(fusion, views, sample):
    start, rows = 0, {}
    for view, (height, width) in GRIDS.items():
        rows |= {(view, i): array(fusion.embedding[start + i]) for i in range(height * width)}
        start += height * width
    entries = {pair: phi + rows[pair] for pair, phi in features_of(fusion, views, sample).items()}
    out = []
    for x in array(fusion.position):
        for block in fusion.blocks:
            kv = {pair: linear(entry, block.attention.kv) for pair, entry in entries.items()}
            q = linear(layer_norm(x, block.norm1), block.attention.q)
            keys, values = {p: y[:DIM] for p, y in kv.items()}, {p: y[DIM:] for p, y in kv.items()}
            x = x + linear(attend(dict.fromkeys(views, q), keys, values), block.attention.proj)
            x = x + mlp(layer_norm(x, block.norm2), block.feedforward)
        out.append(layer_norm(x, fusion.norm))
    return np.stack(out)


def slow_bev(fusion, views, sample):
    phi, start, rays = features_of(fusion, views, sample), 0, {}
    for view, (height, width) in GRIDS.items():
        rays |= {(view, i): array(fusion.rays[start + i]) for i in range(height * width)}
        start += height * width
    camera = {view: linear(array(fusion.positions[i]), fusion.camera_map) for i, view in enumerate(GRIDS)}
    along = {p: rms_norm(linear(rays[p], fusion.ray_map) - camera[p[0]], fusion.norm_ray) for p in phi}
    out = []
    for x, cell in zip(array(fusion.position), array(fusion.cells), strict=True):
        for block in fusion.blocks:
            queries = {}
            for view in views:
                towards = rms_norm(linear(cell, fusion.cell_map) - camera[view], fusion.norm_cell)
                queries[view] = linear(layer_norm(x, block.norm1) + towards, block.attention.q)
            keys = {pair: linear(phi[pair] + along[pair], block.attention.k) for pair in phi}
            values = {pair: linear(phi[pair], block.attention.v) for pair in phi}
            x = x + linear(attend(queries, keys, values), block.attention.proj)
            x = x + mlp(layer_norm(x, block.norm2), block.feedforward)
        out.append(layer_norm(x, fusion.norm))
    return np.stack(out)


@pytest.mark.parametrize(("make", "slow"), [(attention, slow_attention), (bev, slow_bev)])
@pytest.mark.parametrize("depth", [1, 2])
def test_the_formula_by_slow_loops_without_the_cameras_that_are_missing(make, slow, depth, randomise):
    fusion, given = randomise(make(depth)), tokens()
    actual = fusion(given, PRESENT)
    assert actual.grid == GRID
    assert actual.prefix.shape == (BATCH, 0, DIM)
    for sample in range(BATCH):
        views = {view: x for view, x in given.items() if PRESENT[view][sample]}
        expected = slow(fusion, views, sample)
        np.testing.assert_allclose(actual.tokens[sample].detach().numpy(), expected, atol=2e-5)
        np.testing.assert_allclose(actual.maps[1][sample].detach().numpy(), expected.T.reshape(DIM, *GRID), atol=2e-5)


@KINDS
def test_a_masked_camera_is_a_rig_without_it_in_result_and_gradient(make, randomise):
    fusion, given = randomise(make(), scale=0.2), tokens()
    weights = torch.randn(BATCH, GRID[0] * GRID[1], DIM)

    def result(cameras, present):
        fusion.zero_grad()
        leaves = {view: given[view].clone().requires_grad_() for view in cameras}
        out = fusion(leaves, present).tokens
        (out * weights).sum().backward()
        gradients = {name: p.grad.clone() for name, p in fusion.named_parameters()}
        return out, gradients, {view: x.grad for view, x in leaves.items()}

    all_but_left = dict.fromkeys(GRIDS, torch.ones(BATCH, dtype=torch.bool)) | {"left": torch.zeros(BATCH).bool()}
    masked, masked_gradients, masked_inputs = result(GRIDS, all_but_left)
    without, gradients, inputs = result(["front", "rear"], None)
    torch.testing.assert_close(masked, without, rtol=0, atol=1e-6)
    assert not masked_inputs["left"].any()
    for view, gradient in inputs.items():
        torch.testing.assert_close(masked_inputs[view], gradient, rtol=1e-5, atol=1e-6)
    for name, gradient in gradients.items():
        assert gradient.any(), name
        torch.testing.assert_close(masked_gradients[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


@KINDS
def test_the_order_of_the_cameras_does_not_matter(make, randomise):
    fusion, given = randomise(make()), tokens()
    turned = {view: given[view] for view in reversed(given)}
    torch.testing.assert_close(fusion(turned, PRESENT).tokens, fusion(given, PRESENT).tokens, rtol=0, atol=1e-6)


@KINDS
def test_cameras_and_cells_are_told_apart(make, randomise):
    fusion = randomise(make())
    same = {view: torch.ones(1, rows * columns, IN) for view, (rows, columns) in GRIDS.items()}
    changed = dict(same)
    changed["rear"] = same["rear"].clone()
    changed["rear"][0, 3] = torch.randn(IN)
    moved = dict(same)
    moved["rear"] = changed["rear"].roll(1, dims=1)
    first, second = fusion(changed).tokens, fusion(moved).tokens
    assert (first - second).abs().max() > 1e-3
    cells = fusion(same).tokens[0]
    assert torch.cdist(cells, cells).fill_diagonal_(1).min() > 1e-4


class SoftmaxDtypes(TorchDispatchMode):
    """Notes the dtype of every softmax."""

    def __init__(self):
        super().__init__()
        self.dtypes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if "softmax" in str(function):
            self.dtypes.append(out.dtype)
        return out


@KINDS
def test_half_precision_is_near_and_its_explicit_softmax_is_not_half(make):
    fusion, given = make(2), tokens()
    exact = fusion(given, PRESENT).tokens
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad(), SoftmaxDtypes() as softmax:
        half = fusion(given, PRESENT).tokens
    torch.testing.assert_close(half.float(), exact, rtol=0, atol=0.1)
    assert (half.float() - exact).abs().max() > 0
    assert torch.bfloat16 not in softmax.dtypes
    if make is bev:
        assert softmax.dtypes == [torch.float32, torch.float32]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fusion": "sum"}, "fusion must be attention or bev, given 'sum'$"),
        ({"fusion": "ground"}, "fusion must be attention or bev, given 'ground': it is now called bev"),
        ({"stems": "none"}, "stems must be shared or separate, given 'none'"),
        ({"grid": (0, 3)}, r"grid\.0 must be at least 1, given 0"),
        ({"depth": 0}, "depth must be at least 1, given 0"),
        ({"embed_dim": 10}, "embed_dim 10 is not divisible by num_heads 4"),
        ({"mlp_ratio": 0.0}, "mlp_ratio must be above 0, given 0.0"),
        ({"dropout": 1.0}, "dropout must be below 1, given 1.0"),
        ({"fusion": "bev", "extent": (3.0, 3.0, 0.0, 1.0)}, "extent must be x from and to"),
        ({"extent": (0.0, 9.0, -4.0, 4.0)}, "has no effect with fusion attention"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ViewsConfig(**fields)


@pytest.fixture
def rig():
    return ring_of_cameras(4, (8, 12))


@pytest.fixture
def fusion(rig):
    config = ViewsConfig(fusion="bev", grid=(2, 3), extent=(-2.0, 6.0, -4.0, 4.0), embed_dim=16)
    return BEVFusion(config, {view: FeatureSpec(7, (3, 5), 0, "mean", {}) for view in rig.cameras}, rig)


def test_at_the_start_a_cell_is_nearest_to_the_ray_that_points_at_it():
    """One camera over the origin looks at every cell: their embedded directions match one to one."""
    config = ViewsConfig(fusion="bev", grid=(3, 4), extent=(1.0, 9.0, -4.0, 4.0), embed_dim=48, num_heads=3)
    height = np.array([0.0, 0.0, 1.5])

    class Eye(Camera):
        def rays(self, grid):
            cells = one.bev_cells(config.grid, config.extent)
            rays = np.concatenate([cells, np.zeros((3, 4, 1))], axis=-1) - height
            return rays / np.linalg.norm(rays, axis=-1, keepdims=True)

    one = Rig({"eye": Eye(intrinsics=np.eye(3), rotation=np.eye(3), position=height, size=(3, 4))})
    fusion = BEVFusion(config, {"eye": FeatureSpec(7, (3, 4), 0, "mean", {})}, one)
    keys = normalize(fusion.ray_map(fusion.rays), dim=-1)
    queries = normalize(fusion.cell_map(fusion.cells) - fusion.camera_map(fusion.positions[0]), dim=-1)
    torch.testing.assert_close(keys, queries, rtol=0, atol=1e-5)


def test_the_geometry_is_not_in_the_state_dict(fusion):
    names = set(fusion.state_dict())
    assert "ray_map.weight" in names
    assert not names & {"rays", "positions", "cells"}


def test_it_takes_the_rays_of_the_rig(fusion, rig):
    for index, (view, camera) in enumerate(rig.cameras.items()):
        rays = torch.tensor(camera.rays((3, 5)).reshape(-1, 3), dtype=torch.float32)
        torch.testing.assert_close(fusion.rays[fusion.rows[view]], rays)
        # 2 x 3 cells: x is 4 and 0, y is 8 / 3, 0 and -8 / 3; the unit is 4 m
        position = torch.tensor(camera.position, dtype=torch.float32)
        torch.testing.assert_close(fusion.positions[index] * 4, position)
    torch.testing.assert_close(fusion.cells[0] * 4, torch.tensor([4.0, 8 / 3]))
