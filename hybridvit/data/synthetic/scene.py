"""Procedural scenes: solids on the ground around a vehicle, and which cells of the ground they take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.rig import Floats

Kind = Literal["box", "cylinder", "sphere"]
KINDS: tuple[Kind, ...] = ("box", "cylinder", "sphere")
Extent = tuple[float, float, float, float]

SOLIDS = (2, 7)  # fewest and most solids of a scene
NEAREST_SOLID = 2.0  # metres from the vehicle's centre to a solid's edge, at least
# Red, green and blue of each kind, before its brightness is drawn.
COLOURS = {"box": (226.0, 96.0, 62.0), "cylinder": (70.0, 132.0, 226.0), "sphere": (236.0, 196.0, 60.0)}


@dataclass(frozen=True)
class Solid:
    """A thing that stands on the ground.

    Attributes:
        kind: its class.
        x: of its centre, forward of the vehicle, in metres.
        y: of its centre, to the left of the vehicle, in metres.
        half: half its length and width in metres; of round things both are the radius.
        height: in metres; of a sphere its diameter.
        turn: cosine and sine of the angle from the vehicle's x axis to its length.
        colour: red, green and blue in full light, up to 255.
    """

    kind: Kind
    x: float
    y: float
    half: tuple[float, float]
    height: float
    turn: tuple[float, float]
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """A scene around the vehicle.

    Attributes:
        heading: cosine and sine of the vehicle's yaw, from the world's x axis, where the sun stands, to the left.
        origin: where the vehicle stands in the world, which moves the tiles, in metres.
        solids: the things around the vehicle.
    """

    heading: tuple[float, float]
    origin: tuple[float, float]
    solids: tuple[Solid, ...]


def draw_scene(rng: np.random.Generator, extent: Extent) -> Scene:
    """A random scene with most of its solids on the grid."""
    while True:  # a point in the half disc towards the sun, so that every heading is as likely
        x, y = rng.random(), 2 * rng.random() - 1
        length = math.sqrt(x * x + y * y)
        if 0.1 < length <= 1:
            break
    origin = (20 * rng.random(), 20 * rng.random())
    solids: list[Solid] = []
    target_count = int(rng.integers(SOLIDS[0], SOLIDS[1] + 1))
    for _ in range(20 * target_count):  # in a crowded place some find no room
        if len(solids) == target_count:
            break
        solid = _draw_solid(rng, extent)
        reach = _reach(solid)
        clear = math.sqrt(solid.x**2 + solid.y**2) - reach >= NEAREST_SOLID
        if clear and all(
            math.sqrt((solid.x - other.x) ** 2 + (solid.y - other.y) ** 2) > reach + _reach(other) for other in solids
        ):
            solids.append(solid)
    return Scene((x / length, y / length), origin, tuple(solids))


def _draw_solid(rng: np.random.Generator, extent: Extent) -> Solid:
    kind = KINDS[int(rng.integers(len(KINDS)))]
    back, front, right, left = extent
    x = back + (front - back) * (1.2 * rng.random() - 0.1)
    y = right + (left - right) * (1.2 * rng.random() - 0.1)
    length, width, height, light = (rng.random() for _ in range(4))
    bright = 0.7 + 0.3 * light
    red, green, blue = COLOURS[kind]
    colour = (bright * red, bright * green, bright * blue)
    if kind == "box":
        t = 2 * rng.random() - 1  # the angle 2·atan(t), from -90 to 90 degrees
        turn = ((1 - t * t) / (1 + t * t), 2 * t / (1 + t * t))
        return Solid(kind, x, y, (0.7 + 0.7 * length, 0.5 + 0.4 * width), 0.8 + 1.2 * height, turn, colour)
    radius = (0.35 if kind == "cylinder" else 0.6) + 0.4 * length
    tall = 1.5 + 1.5 * height if kind == "cylinder" else 2 * radius
    return Solid(kind, x, y, (radius, radius), tall, (1.0, 0.0), colour)


def _reach(solid: Solid) -> float:
    """Radius of the circle around a footprint."""
    a, b = solid.half
    return math.sqrt(a * a + b * b) if solid.kind == "box" else a


def occupancy(scene: Scene, cells: Floats, halves: tuple[float, float]) -> NDArray[np.uint8]:
    """0 for each cell that is free, else 1 + the index of the kind of the solid that reaches into it.

    Args:
        scene: the solids.
        cells: centres of the cells, ``[rows, columns, 2]``.
        halves: half the side of a cell along x and along y, in metres.
    """
    kinds = np.zeros(cells.shape[:2], np.uint8)
    nearest = np.full(cells.shape[:2], np.inf)
    for solid in scene.solids:
        x, y = cells[..., 0] - solid.x, cells[..., 1] - solid.y
        distance = x * x + y * y
        taken = _covers(solid, x, y, halves) & (distance < nearest)
        kinds[taken] = 1 + KINDS.index(solid.kind)
        nearest[taken] = distance[taken]
    return kinds


def _covers(solid: Solid, x: Floats, y: Floats, halves: tuple[float, float]) -> NDArray[np.bool_]:
    """Whether a footprint overlaps cells around these centres, counted from the solid's own."""
    if solid.kind != "box":
        gap_x, gap_y = np.maximum(np.abs(x) - halves[0], 0), np.maximum(np.abs(y) - halves[1], 0)
        near: NDArray[np.bool_] = gap_x * gap_x + gap_y * gap_y < solid.half[0] ** 2
        return near
    # Two rectangles are apart if and only if an axis of one of them tells them apart.
    (c, s), (a, b) = solid.turn, solid.half
    ac, as_ = abs(c), abs(s)
    overlap: NDArray[np.bool_] = (
        (np.abs(x) < halves[0] + a * ac + b * as_)
        & (np.abs(y) < halves[1] + a * as_ + b * ac)
        & (np.abs(c * x + s * y) < a + halves[0] * ac + halves[1] * as_)
        & (np.abs(c * y - s * x) < b + halves[0] * as_ + halves[1] * ac)
    )
    return overlap
