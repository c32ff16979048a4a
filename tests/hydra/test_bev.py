"""The geometry behind the bird's-eye view; its attention is tested with the other fusion's."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from hybridvit.backbones.features import FeatureSpec
from hybridvit.data.rig import Camera, Rig
from hybridvit.data.synthetic.dataset import ring_of_cameras
from hybridvit.hydra.fusion import BEVFusion
from hybridvit.hydra.views import ViewsConfig


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
