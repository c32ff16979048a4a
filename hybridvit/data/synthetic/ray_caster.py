"""The pictures that a rig of cameras takes of a procedural scene.

Only sums, products, quotients and square roots enter a pixel, which IEEE 754 defines to the last bit: the same scene
gives the same picture on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hybridvit.data.rig import Floats, Rig
from hybridvit.data.synthetic.scene import Scene, Solid

NOTHING = -1  # in a buffer of object numbers: ground or sky

SUN = np.array([0.96, 0.0, 0.28])  # towards the sun, in the world: along x, 16 degrees high
TILE = 2.0  # side of a tile on the ground, in metres
HAZE = 40.0  # distance at which half of a colour is lost in the haze, in metres
GROUND = np.array([[104.0, 108.0, 100.0], [126.0, 128.0, 116.0]])  # colours of the two sorts of tiles
ZENITH = np.array([58.0, 96.0, 168.0])
# Colour of the horizon: at its mean, and how it changes towards the sun (world x) and to the left of it (world y).
HORIZON = np.array([[178.0, 164.0, 172.0], [62.0, 8.0, -52.0], [-34.0, 26.0, 22.0]])


class Picture(NamedTuple):
    """What one camera sees.

    Attributes:
        pixels: ``[3, h, w]`` uint8.
        solids: number of the solid in each pixel, or NOTHING, ``[h, w]``.
        distance: from the camera along the pixel's ray, in metres, infinite in the sky, ``[h, w]``.
    """

    pixels: NDArray[np.uint8]
    solids: NDArray[np.int64]
    distance: Floats


class RayCaster:
    """Takes pictures with all cameras of a rig, one ray for each pixel.

    Args:
        rig: the cameras.
    """

    def __init__(self, rig: Rig) -> None:
        self.sizes = {view: camera.size for view, camera in rig.cameras.items()}
        counts = [height * width for height, width in self.sizes.values()]
        directions = [camera.rays(camera.size).reshape(-1, 3) for camera in rig.cameras.values()]
        self.bounds = np.cumsum([0, *counts])
        self.direction = np.concatenate(directions).T.copy()  # [3, rays]
        self.origin = np.repeat([camera.position for camera in rig.cameras.values()], counts, axis=0).T.copy()
        down = self.direction[2] < -1e-9
        self.ground = np.where(down, self.origin[2] / np.where(down, -self.direction[2], 1.0), np.inf)
        self.down = np.flatnonzero(down)
        self.up = np.flatnonzero(~down)
        level = np.sqrt(np.maximum(self.direction[0] ** 2 + self.direction[1] ** 2, 1e-12))
        self.level = self.direction[:2] / level  # where on the horizon each ray points
        meets = self.ground[self.down] * self.direction[:2, self.down]
        self.floor = self.origin[:2, self.down] + meets  # where rays meet the ground

    def pictures(self, scene: Scene) -> Mapping[str, Picture]:
        """View name -> what its camera sees of the scene."""
        x, y = _to_world(scene, self.level[0], self.level[1])
        mean, sunward, leftward = HORIZON[:, :, None]
        horizon = mean + sunward * x + leftward * y
        colour = np.empty_like(horizon)
        colour[:, self.up] = self._sky(scene, horizon[:, self.up])
        colour[:, self.down] = self._tiles(scene)
        distance, numbers = self.ground.copy(), np.full(self.ground.size, NOTHING)
        light = np.array([*_to_vehicle(scene, SUN[0], SUN[1]), SUN[2]])
        for number, solid in enumerate(scene.solids):
            rays, along, normal = self._hits(solid)
            closer = along < distance[rays]
            rays, along, normal = rays[closer], along[closer], normal[:, closer]
            bright = np.maximum(normal[0] * light[0] + normal[1] * light[1] + normal[2] * light[2], 0.0)
            shade = 0.45 + 0.1 * normal[2] + 0.55 * bright
            colour[:, rays] = np.asarray(solid.colour)[:, None] * shade
            distance[rays], numbers[rays] = along, number
        near = np.isfinite(distance)  # colours fade to the horizon's with distance
        colour += (horizon - colour) * np.where(near, 1 - HAZE / (np.where(near, distance, 0.0) + HAZE), 0.0)
        pixels = np.clip(np.floor(colour + 0.5), 0, 255).astype(np.uint8)
        taken = {}
        for (view, size), start, stop in zip(self.sizes.items(), self.bounds, self.bounds[1:], strict=False):
            part = slice(start, stop)
            taken[view] = Picture(
                pixels[:, part].reshape(3, *size), numbers[part].reshape(size), distance[part].reshape(size)
            )
        return taken

    def _sky(self, scene: Scene, horizon: Floats) -> Floats:
        """Colour of the sky where rays rise, ``[3, rays]``, given that of the horizon under it."""
        direction = self.direction[:, self.up]
        rise = np.minimum(direction[2] * 2.2, 1.0)
        rise = rise * (2 - rise)
        sky = horizon + (ZENITH[:, None] - horizon) * rise
        x, y = _to_vehicle(scene, SUN[0], SUN[1])
        off = 1 - (x * direction[0] + y * direction[1] + SUN[2] * direction[2])  # 0 where the sun stands
        glow = 0.015 / (0.015 + np.maximum(off, 0.0))
        sky = sky + (np.array([255.0, 214.0, 150.0])[:, None] - sky) * glow
        return np.where(off < 0.006, np.array([255.0, 250.0, 225.0])[:, None], sky)

    def _tiles(self, scene: Scene) -> Floats:
        """Colour of the ground where rays meet it, ``[3, rays]``: two sorts of tiles, darker under things."""
        x, y = _to_world(scene, self.floor[0], self.floor[1])
        column = np.floor((x + scene.origin[0]) / TILE).astype(np.int64)
        row = np.floor((y + scene.origin[1]) / TILE).astype(np.int64)
        grain = ((column * 73856093) ^ (row * 19349663)) % 17 - 8.0  # no two tiles quite alike
        colour = GROUND[(column + row) % 2].T + grain
        for solid in scene.solids:
            reach = 1.6 * max(solid.half)
            square = (self.floor[0] - solid.x) ** 2 + (self.floor[1] - solid.y) ** 2
            near = np.flatnonzero(square < reach * reach)
            colour[:, near] *= 0.5 + 0.5 * square[near] / (reach * reach)
        return colour

    def _hits(self, solid: Solid) -> tuple[NDArray[np.int64], Floats, Floats]:
        """The rays that meet a solid, how far along they do, and the surface's normal there ``[3, rays]``."""
        half, middle = max(solid.half), solid.height / 2
        reach = solid.half[0] ** 2 + solid.half[1] ** 2 if solid.kind == "box" else half * half
        reach += 0.0 if solid.kind == "sphere" else middle * middle
        x, y, z = self.origin[0] - solid.x, self.origin[1] - solid.y, self.origin[2] - middle
        # Most rays pass the sphere around the solid.
        towards = -(x * self.direction[0] + y * self.direction[1] + z * self.direction[2])
        meets = (towards > 0) & (x * x + y * y + z * z - towards * towards <= reach)
        rays = np.flatnonzero(meets)
        c, s = solid.turn
        origin = np.stack([c * x[rays] + s * y[rays], c * y[rays] - s * x[rays], z[rays]])
        d = self.direction[:, rays]
        direction = np.stack([c * d[0] + s * d[1], c * d[1] - s * d[0], d[2]])
        if solid.kind == "box":
            along, normal = _meet_box(origin, direction, (*solid.half, middle))
        elif solid.kind == "cylinder":
            along, normal = _meet_cylinder(origin, direction, half, middle)
        else:
            along, normal = _meet_sphere(origin, direction, half)
        turned = np.stack([c * normal[0] - s * normal[1], s * normal[0] + c * normal[1], normal[2]])
        hit = np.isfinite(along)
        return rays[hit], along[hit], turned[:, hit]


def _meet_box(o: Floats, d: Floats, half: tuple[float, float, float]) -> tuple[Floats, Floats]:
    """Distance along rays to a box around the origin, infinite where they miss it, and the normal there."""
    sides = np.asarray(half)[:, None]
    steep = np.where(np.abs(d) < 1e-12, 1e-12, d)
    one, other = (-sides - o) / steep, (sides - o) / steep
    enter, leave = np.minimum(one, other), np.maximum(one, other)
    axis = enter.argmax(axis=0)
    first = enter.max(axis=0)
    normal = np.zeros_like(o)
    every = np.arange(o.shape[1])
    normal[axis, every] = -np.sign(d[axis, every])
    return np.where((first <= leave.min(axis=0)) & (first > 0), first, np.inf), normal


def _meet_cylinder(o: Floats, d: Floats, radius: float, middle: float) -> tuple[Floats, Floats]:
    """As :func:`_meet_box`, for an upright cylinder; cameras are outside of it and above its bottom."""
    a = np.maximum(d[0] * d[0] + d[1] * d[1], 1e-12)
    b = o[0] * d[0] + o[1] * d[1]
    root = b * b - a * (o[0] * o[0] + o[1] * o[1] - radius * radius)
    side = (-b - np.sqrt(np.maximum(root, 0.0))) / a
    height = o[2] + side * d[2]
    side = np.where((root >= 0) & (side > 0) & (np.abs(height) <= middle), side, np.inf)
    lid = (middle - o[2]) / np.where(np.abs(d[2]) < 1e-12, -1e-12, d[2])
    x, y = o[0] + lid * d[0], o[1] + lid * d[1]
    lid = np.where((lid > 0) & (x * x + y * y <= radius * radius) & (o[2] > middle), lid, np.inf)
    top = lid < side
    reach = np.where(np.isfinite(side), side, 0.0)
    round_ = np.stack([(o[0] + reach * d[0]) / radius, (o[1] + reach * d[1]) / radius, np.zeros_like(a)])
    return np.minimum(side, lid), np.where(top, np.array([[0.0], [0.0], [1.0]]), round_)


def _meet_sphere(o: Floats, d: Floats, radius: float) -> tuple[Floats, Floats]:
    """As :func:`_meet_box`, for a sphere."""
    b = o[0] * d[0] + o[1] * d[1] + o[2] * d[2]
    root = b * b - (o[0] * o[0] + o[1] * o[1] + o[2] * o[2] - radius * radius)
    along = -b - np.sqrt(np.maximum(root, 0.0))
    return np.where((root >= 0) & (along > 0), along, np.inf), (o + along * d) / radius


def _to_world(scene: Scene, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Level directions of the vehicle, in the world."""
    c, s = scene.heading
    return c * x - s * y, s * x + c * y


def _to_vehicle(scene: Scene, x: float, y: float) -> tuple[float, float]:
    """A level direction of the world, in the vehicle."""
    c, s = scene.heading
    return c * x + s * y, c * y - s * x
