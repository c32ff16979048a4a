"""Cameras around a vehicle: where they are and which way every pixel looks.

The coordinates, stated here and used everywhere:

- vehicle: x forward, y left, z up, in metres; the origin lies on the ground under the vehicle's centre.
- camera: x right, y down, z forward, in metres; the origin is the optical centre.
- pixels: u to the right and v down, continuous: 0 is the left (upper) edge of the image, its width (height) the
  right (lower) one, so that the centre of the first pixel is at 0.5.
- bird's-eye view (BEV): row 0 is furthest forward and column 0 furthest left, as on a map on which the vehicle
  drives upwards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

FIELDS = ("intrinsics", "rotation", "position", "size")  # of a camera, in its file
TOLERANCE = 1e-5  # of a rotation written with six digits


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera without distortion.

    A point p of the vehicle lies at c = rotationᵀ (p - position) in the camera, and is seen at the pixel (u, v) of
    intrinsics · c = c_z · (u, v, 1).

    Attributes:
        intrinsics: ``[3, 3]``, in pixels: focal lengths, skew and principal point.
        rotation: ``[3, 3]``, from camera to vehicle; its columns are the camera's axes.
        position: ``[3]``, of the optical centre in the vehicle, in metres.
        size: height and width of the image, in pixels.
    """

    intrinsics: Floats
    rotation: Floats
    position: Floats
    size: tuple[int, int]

    def __post_init__(self) -> None:
        for name, shape in (("intrinsics", (3, 3)), ("rotation", (3, 3)), ("position", (3,))):
            object.__setattr__(self, name, _numbers(name, getattr(self, name), shape))
        size = tuple(self.size)
        if len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
            raise ValueError(f"size must be height and width in whole pixels, given {list(size)}")
        object.__setattr__(self, "size", size)
        k = self.intrinsics
        if k[0, 0] <= 0 or k[1, 1] <= 0:
            raise ValueError(f"intrinsics must have positive focal lengths, given {k[0, 0]:g} and {k[1, 1]:g}")
        if k[1, 0] or k[2].tolist() != [0, 0, 1]:
            raise ValueError(f"intrinsics must be [[fx, skew, cx], [0, fy, cy], [0, 0, 1]], given {k.tolist()}")
        error = float(np.abs(self.rotation.T @ self.rotation - np.eye(3)).max())
        if error > TOLERANCE:
            raise ValueError(f"rotation is not orthonormal: its transpose times itself is {error:.1e} off the identity")
        if np.linalg.det(self.rotation) < 0:
            raise ValueError("rotation is a reflection: its determinant is -1, expected 1")

    def rays(self, grid: tuple[int, int]) -> Floats:
        """Unit directions ``[gh, gw, 3]``, in the vehicle, through the centres of a grid laid over the image."""
        (rows, columns), (height, width) = grid, self.size
        v = (np.arange(rows)[:, None] + 0.5) * (height / rows)
        u = (np.arange(columns)[None, :] + 0.5) * (width / columns)
        k = self.intrinsics
        y = (v - k[1, 2]) / k[1, 1]
        x = (u - k[0, 2] - k[0, 1] * y) / k[0, 0]
        length = np.sqrt(x * x + y * y + 1)
        # Sums written out: a matrix product may round differently from machine to machine.
        r = self.rotation
        return np.stack([(r[i, 0] * x + r[i, 1] * y + r[i, 2]) / length for i in range(3)], axis=-1)

    def project(self, points: ArrayLike) -> tuple[Floats, Floats]:
        """Points ``[..., 3]`` of the vehicle -> pixels (u, v) ``[..., 2]`` and depth along the optical axis ``[...]``.

        What lies at or behind the optical centre (depth ≤ 0) has no pixel: NaN.
        """
        c = (np.asarray(points, np.float64) - self.position) @ self.rotation
        depth = c[..., 2]
        ahead = np.where(depth > 0, depth, np.nan)
        k = self.intrinsics
        u = (k[0, 0] * c[..., 0] + k[0, 1] * c[..., 1]) / ahead + k[0, 2]
        v = k[1, 1] * c[..., 1] / ahead + k[1, 2]
        return np.stack([u, v], axis=-1), depth


@dataclass(frozen=True, eq=False)
class Rig:
    """The cameras of a vehicle, as a JSON file holds them.

    ``{"cameras": {"front": {"intrinsics": [[...], ...], "rotation": [[...], ...], "position": [...],
    "size": [height, width]}, ...}}``

    Attributes:
        cameras: view name -> camera.
    """

    cameras: Mapping[str, Camera]

    def __post_init__(self) -> None:
        if not self.cameras:
            raise ValueError("a rig needs at least one camera")

    def check(self, shapes: Mapping[str, tuple[int, int, int]]) -> None:
        """Refuses images that this rig did not take.

        Args:
            shapes: channels, height and width of every view, as ``Splits.shapes``.

        Raises:
            ValueError: a view has no camera, or images of another size.
        """
        for view, (_, *size) in shapes.items():
            if view not in self.cameras:
                raise ValueError(f"the rig has no camera {view!r}; it has {', '.join(self.cameras)}")
            height, width = self.cameras[view].size
            if (height, width) != tuple(size):
                raise ValueError(f"camera {view!r} takes {height}x{width} pixels, its images have {size[0]}x{size[1]}")

    @staticmethod
    def bev_cells(grid: tuple[int, int], extent: tuple[float, float, float, float]) -> Floats:
        """Centres (x, y) of the cells of a bird's-eye view in the vehicle, in metres: ``[rows, columns, 2]``.

        Args:
            grid: rows, from front to back, and columns, from left to right.
            extent: where the grid begins and ends along x, then along y, in metres.
        """
        (rows, columns), (back, front, right, left) = grid, extent
        x = front - (np.arange(rows) + 0.5) * ((front - back) / rows)
        y = left - (np.arange(columns) + 0.5) * ((left - right) / columns)
        return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)

    def write(self, path: Path) -> None:
        """Writes the JSON file."""
        path.write_text(self.to_json(), encoding="utf-8")

    def to_json(self) -> str:
        """The rig as JSON text, exact to the last bit."""
        cameras = {
            name: {field: np.asarray(getattr(camera, field)).tolist() for field in FIELDS}
            for name, camera in self.cameras.items()
        }
        return json.dumps({"cameras": cameras}, indent=1) + "\n"

    @classmethod
    def read(cls, path: Path, views: Iterable[str] = ()) -> Rig:
        """The rig of a JSON file.

        Args:
            path: the file.
            views: cameras that it must have.

        Raises:
            ValueError: the file cannot be read, or its first fault in one line.
        """
        try:
            rig = cls.from_json(path.read_text(encoding="utf-8"))
            for view in views:
                if view not in rig.cameras:
                    raise ValueError(f"there is no camera {view!r}; there are {', '.join(rig.cameras)}")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ValueError(f"{path}: {reason}") from error
        return rig

    @classmethod
    def from_json(cls, text: str) -> Rig:
        """The rig of :meth:`to_json`'s text.

        Raises:
            ValueError: naming the first fault.
        """
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ValueError(f"no valid JSON: {error}") from error
        entries = _fields("the rig", content, ("cameras",))["cameras"]
        if not isinstance(entries, dict):
            raise ValueError(f"cameras must be a mapping from name to camera, given a {type(entries).__name__}")
        cameras = {}
        for name, entry in entries.items():
            fields = _fields(f"camera {name!r}", entry, FIELDS)
            if not isinstance(fields["size"], list):
                raise ValueError(f"camera {name!r}: size must be [height, width], given {fields['size']!r}")
            try:
                cameras[name] = Camera(**fields)
            except ValueError as error:
                raise ValueError(f"camera {name!r}: {error}") from error
        return cls(cameras)


def _numbers(name: str, values: Any, shape: tuple[int, ...]) -> Floats:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be numbers {list(shape)}, given {values!r}") from error
    if array.shape != shape or not np.isfinite(array).all():
        what = f"shape {list(array.shape)}" if array.shape != shape else "a value that is not finite"
        raise ValueError(f"{name} must be finite numbers {list(shape)}, given {what}")
    array.flags.writeable = False
    return array


def _fields(owner: str, content: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """A JSON object that has exactly these fields."""
    if not isinstance(content, dict):
        raise ValueError(f"{owner} must be an object with {', '.join(names)}, given a {type(content).__name__}")
    for name in names:
        if name not in content:
            raise ValueError(f"{owner} has no {name}")
    for name in content:
        if name not in names:
            raise ValueError(f"{owner} has an unknown field {name!r}; its fields are {', '.join(names)}")
    return content
