"""A synthetic data set of several cameras, whose every answer is known from its geometry."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from hybridvit.config import Config, Fraction, NonNegativeInt, PositiveInt
from hybridvit.data.rig import Camera, Rig
from hybridvit.data.samples import Column, Samples, Splits
from hybridvit.data.synthetic.ray_caster import NOTHING, Picture, RayCaster
from hybridvit.data.synthetic.scene import KINDS, Extent, Scene, draw_scene, occupancy

CAMERA_NAMES: dict[int, tuple[str, ...]] = {
    4: ("front", "left", "rear", "right"),
    5: ("front", "front_left", "rear_left", "rear_right", "front_right"),
    6: ("front", "front_left", "rear_left", "rear", "rear_right", "front_right"),
    7: ("front", "front_left", "left", "rear_left", "rear_right", "right", "front_right"),
    8: ("front", "front_left", "left", "rear_left", "rear", "rear_right", "right", "front_right"),
}
OVERLAP = 1.2  # how much wider a camera looks than its share of the circle
PITCH = 8.0  # degrees that cameras look down
VISIBLE = 4  # pixels that a solid needs to count as seen


class SyntheticConfig(Config):
    """Scenes of boxes, cylinders and spheres around a vehicle under a low sun, seen by its cameras, with their rig.

    The target columns:

    - ``occupancy``, a mask over a grid on the ground: for each cell "free" or the kind of the solid whose footprint,
      seen from above, reaches into it; of several, the one whose centre is nearest to the cell's.
    - ``count``: solids with their centre on the grid of which some camera that is present sees at least 4 pixels.
    - ``heading``: the vehicle's yaw in degrees, counted to the left from the sun, within -90 and 90.
    - ``nearest_CAMERA``: kind of the solid nearest to the camera, of those of which it sees at least 4 pixels, or
      "none"; without label where the camera is missing.

    A scene depends on the seed and its index alone, to the last bit on any machine, and not on what is missing.

    Attributes:
        samples: number of scenes in all; a sixth each, rounded down, is for validation and for testing.
        cameras: number of cameras, 4 to 8, evenly around the vehicle.
        size: height and width of the images, in pixels.
        grid: rows and columns of the grid on the ground.
        extent: where the grid begins and ends along x (forward), then along y (left), in metres.
        seed: of the scenes, and of which cameras are missing.
        missing: share of cameras that are missing; every sample keeps at least one.
    """

    samples: PositiveInt = 1200
    cameras: Annotated[int, Interval(ge=4, le=8)] = 6
    size: tuple[PositiveInt, PositiveInt] = (32, 48)
    grid: tuple[PositiveInt, PositiveInt] = (16, 16)
    extent: Extent = (-8.0, 8.0, -8.0, 8.0)
    seed: NonNegativeInt = 0
    missing: Fraction = 0.0

    def __post_init__(self) -> None:
        if self.extent[0] >= self.extent[1] or self.extent[2] >= self.extent[3]:
            raise ValueError(f"extent must be x from and to, then y from and to, in metres, given {self.extent}")

    def build(self) -> Splits:
        """The scenes, their targets and the rig."""
        samples, size, grid, extent, seed = self.samples, self.size, self.grid, self.extent, self.seed
        rig = ring_of_cameras(self.cameras, size)
        caster, cells = RayCaster(rig), Rig.bev_cells(grid, extent)
        halves = ((extent[1] - extent[0]) / grid[0] / 2, (extent[3] - extent[2]) / grid[1] / 2)
        views = {view: np.zeros((samples, 3, *size), np.uint8) for view in rig.cameras}
        present = {view: np.ones(samples, np.bool_) for view in rig.cameras}
        targets: dict[str, NDArray[Any]] = {
            "occupancy": np.zeros((samples, *grid), np.uint8),
            "count": np.zeros((samples, 1), np.float32),
            "heading": np.zeros((samples, 1), np.float32),
            **{f"nearest_{view}": np.full(samples, -1, np.int64) for view in rig.cameras},
        }
        for index in range(samples):
            scene = draw_scene(np.random.default_rng([seed, index]), extent)
            pictures = caster.pictures(scene)
            kept = draw_cameras(np.random.default_rng([seed, index, 1]), self.cameras, self.missing)
            pictures = {view: pictures[view] for view, keep in zip(rig.cameras, kept, strict=True) if keep}
            for view in rig.cameras:
                present[view][index] = view in pictures
            for view, picture in pictures.items():
                views[view][index] = picture.pixels
                targets[f"nearest_{view}"][index] = nearest_kind(scene, picture)
            targets["occupancy"][index] = occupancy(scene, cells, halves)
            targets["count"][index] = count(scene, pictures, extent)
            targets["heading"][index] = math.degrees(math.atan2(scene.heading[1], scene.heading[0]))
        columns = {
            "occupancy": Column("mask", ("free", *KINDS)),
            "count": Column("numbers", ("solids",)),
            "heading": Column("numbers", ("degrees",)),
            **{f"nearest_{view}": Column("class", ("none", *KINDS)) for view in rig.cameras},
        }
        everything = Samples(views, targets, present)
        held = samples // 6
        train, validation, test = (
            everything[part] for part in np.split(np.arange(samples), [samples - 2 * held, samples - held])
        )
        return Splits("synthetic_rig", columns, train, validation, test, rig)


def ring_of_cameras(cameras: int, size: tuple[int, int]) -> Rig:
    """A rig of 4 to 8 cameras evenly around the vehicle, 1.6 m high, looking outwards and a little down."""
    height, width = size
    focal = _exact(width / 2 / math.tan(math.pi / cameras * OVERLAP))
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    down, level = _exact(math.sin(math.radians(PITCH))), _exact(math.cos(math.radians(PITCH)))
    rig = {}
    for index, name in enumerate(CAMERA_NAMES[cameras]):
        c, s = (_exact(f(2 * math.pi * index / cameras)) for f in (math.cos, math.sin))
        right, forward = (s, -c, 0.0), (c * level, s * level, -down)
        below = (-c * down, -s * down, -level)
        rotation = np.array([right, below, forward]).T
        rig[name] = Camera(intrinsics, rotation, np.array([1.2 * c, 0.7 * s, 1.6]), size)
    return Rig(rig)


def count(scene: Scene, pictures: Mapping[str, Picture], extent: Extent) -> int:
    """Solids with their centre on the grid that some picture shows."""
    back, front, right, left = extent
    seen = set().union(*(visible(picture) for picture in pictures.values()))
    return sum(back <= scene.solids[i].x <= front and right <= scene.solids[i].y <= left for i in seen)


def nearest_kind(scene: Scene, picture: Picture) -> int:
    """0 if a picture shows no solid, else 1 + the index of the kind of the one with the nearest pixel."""
    shown = np.zeros(len(scene.solids) + 1, np.bool_)  # the last stands for NOTHING, -1
    shown[sorted(visible(picture))] = True
    if not shown.any():
        return 0
    first = np.where(shown[picture.solids], picture.distance, np.inf).argmin()
    return 1 + KINDS.index(scene.solids[int(picture.solids.flat[first])].kind)


def visible(picture: Picture) -> set[int]:
    """Numbers of the solids that fill at least VISIBLE pixels of a picture."""
    pixels = np.bincount(picture.solids.ravel() - NOTHING)[1:]
    return set(np.flatnonzero(pixels >= VISIBLE).tolist())


def draw_cameras(rng: np.random.Generator, cameras: int, missing: float) -> NDArray[np.bool_]:
    """Which cameras a sample has, ``[cameras]``; never none."""
    draw = rng.random(cameras)
    present: NDArray[np.bool_] = (draw >= missing) | (draw == draw.max())
    return present


def _exact(value: float) -> float:
    """Sine and cosine may differ in the last bit from machine to machine; rounded, they do not."""
    return round(value, 12)
