"""What a run is asked to predict: files, folders, PIL images or arrays, one or many, become samples."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hybridvit.config import nearest
from hybridvit.data.array_images import as_image, as_images, shape_text, to_array
from hybridvit.data.readers.folder import SUFFIXES
from hybridvit.data.readers.image_io import fit_image, read_image
from hybridvit.data.samples import ONE_VIEW

Picture = Path | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """One sample to predict.

    Attributes:
        name: what its row is called: the path of a file, the index of anything else; of several cameras by view.
        views: view name -> picture; a view may be missing.
    """

    name: Any
    views: Mapping[str, Picture]


def samples_of(given: Any, shapes: Mapping[str, tuple[int, int, int]]) -> list[Sample]:
    """The samples in what ``predict`` was given.

    Args:
        given: as for ``LoadedRun.predict``.
        shapes: the cameras of the run, view name -> ``(c, h, w)``.

    Raises:
        ValueError: a view is not named or not known, views differ in their numbers of pictures, or an array may be
            one image or many.
    """
    cameras = tuple(shapes)
    if isinstance(given, Mapping):
        return _of_views(given, shapes, 0)
    if cameras == (ONE_VIEW,):
        return [Sample(name, {ONE_VIEW: picture}) for name, picture in _pictures(given, 0, shapes[ONE_VIEW])]
    samples: list[Sample] = []
    for one in [given] if isinstance(given, str | os.PathLike | Image.Image) else given:
        if not isinstance(one, Mapping):
            text = f"{one!s:.60}"
            raise ValueError(f"this run has {len(cameras)} cameras: name the one of {text}, as in {cameras[0]}={text}")
        samples += _of_views(one, shapes, len(samples))
    return samples


def pixels_of(picture: Picture, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A picture as a run reads it, ``[c, h, w]``: cropped (centre) and resized, in colour or grey.

    Raises:
        ValueError: a file that cannot be read, or channels that the run cannot read.
    """
    channels, size = shape[0], (shape[1], shape[2])
    if isinstance(picture, Path):
        return read_image(picture, channels, size)
    if not isinstance(picture, Image.Image):
        if picture.shape == shape:
            return picture
        if channels not in (1, 3):
            raise ValueError(f"this run reads images of {shape_text(shape)}, given {shape_text(picture.shape)}")
        picture = Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0))
    return fit_image(picture, channels, size)


def _of_views(given: Mapping[str, Any], shapes: Mapping[str, tuple[int, int, int]], first: int) -> list[Sample]:
    """Samples of a mapping view -> one or many pictures; ``first``: index of the first sample."""
    for view in given:
        if view not in shapes:
            raise ValueError(f"this run has no camera {view!r}: {nearest(view, shapes)}")
    pictures = {view: _pictures(images, first, shapes[view]) for view, images in given.items()}
    counts = {view: len(listed) for view, listed in pictures.items()}
    if len(set(counts.values())) != 1:
        raise ValueError(f"every camera must have as many pictures as the others, given {counts or 'no camera'}")
    samples = []
    for row in zip(*pictures.values(), strict=True):
        names, values = ({view: part[index] for view, part in zip(pictures, row, strict=True)} for index in (0, 1))
        samples.append(Sample(names, values))
    return samples


def _pictures(given: Any, first: int, shape: tuple[int, int, int]) -> list[tuple[Any, Picture]]:
    """Name and picture of each image in a path, a folder, a PIL image, an array, or a list of those."""
    if isinstance(given, str | os.PathLike):
        path = Path(given)
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not files:
            raise ValueError(f"{path} holds no images (looked for {' '.join(SUFFIXES)})")
        return [(str(file), file) for file in files]
    if isinstance(given, Image.Image):
        return [(first, given)]
    if isinstance(given, list | tuple):
        listed: list[tuple[Any, Picture]] = []
        for one in given:
            if isinstance(one, Mapping):
                raise ValueError(f"this run has one camera, given pictures of {', '.join(one)}")
            listed += _pictures(one, first + len(listed), shape)
        return listed
    array = to_array(given)
    if array.ndim == 3 and shape[0] == 1 < len(array) <= 4 and array.shape[1:] == shape[1:]:
        raise ValueError(
            f"an array of shape {list(array.shape)} may be {len(array)} grey images or one image of {len(array)} "
            f"channels: give grey images as [{len(array)}, 1, {shape[1]}, {shape[2]}], or an image with channels last"
        )
    images = as_images(array) if array.ndim == 4 else [as_image(array)]
    return [(first + index, pixels) for index, pixels in enumerate(images)]
