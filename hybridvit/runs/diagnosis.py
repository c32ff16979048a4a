"""What a trained run has learned: every measure that applies to its trunk, and where one token looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybridvit.data.samples import ONE_VIEW
from hybridvit.diagnostics import Measure, Reading, measures
from hybridvit.diagnostics.record import attention_matrices, attentions
from hybridvit.runs.loaded_run import LoadedRun

NONE = np.array(None)  # for NaN, which JSON has no word for


@dataclass(frozen=True)
class Measured:
    """A measure and what it read."""

    measure: Measure
    reading: Reading

    def to_json(self) -> dict[str, Any]:
        """As plain values, with None for NaN; ``reference`` and ``relative`` only where the measure has a reference."""
        reading = self.reading
        arrays = {"values": reading.values, "reference": reading.reference, "relative": reading.relative}
        return {
            "title": self.measure.title,
            "unit": self.measure.unit,
            "axes": list(self.measure.axes),
            "layers": list(reading.layers),
            **{n: np.where(np.isnan(array), NONE, array).tolist() for n, array in arrays.items() if array is not None},
        }


@dataclass(frozen=True)
class Diagnosis:
    """All measures of a run on some images.

    Attributes:
        measured: sorted by the name of the measure.
        images: number of images.
        stride: pixels from one token to the next.
    """

    measured: tuple[Measured, ...]
    images: int
    stride: int

    def to_json(self) -> dict[str, Any]:
        """As plain values: each measure by its name."""
        measured = {one.measure.name: one.to_json() for one in self.measured}
        return {"images": self.images, "stride": self.stride, "measures": measured}


def sample_images(trained: LoadedRun, count: int) -> NDArray[np.uint8]:
    """A seeded choice of test images ``[n, c, h, w]``, or of validation or training images if a run has no others.

    Raises:
        ValueError: the run has several cameras.
    """
    _check_one_camera(trained)
    splits = trained.load()
    split = next(name for name in ("test", "validation", "train") if len(getattr(splits, name)))
    samples = getattr(splits, split)
    chosen = np.sort(np.random.default_rng(0).permutation(len(samples))[:count])
    pixels: NDArray[np.uint8] = samples[chosen].in_memory().views[ONE_VIEW]
    return pixels


def diagnose(trained: LoadedRun, pixels: NDArray[np.uint8]) -> Diagnosis:
    """Reads every measure that applies to a run's trunk.

    Args:
        trained: a run with one camera.
        pixels: images ``[n, c, h, w]`` as large as the run's.

    Raises:
        ValueError: the run has several cameras, or no measure applies.
    """
    _check_one_camera(trained)
    trunk: Any = trained.net.backbone
    applicable = [measure for measure in measures() if measure.applies(trunk)]
    if not applicable:
        scopes = "; ".join(f"{measure.name} applies to {measure.models}" for measure in measures())
        raise ValueError(f"no measure applies to {trained.path}, a {trained.recipe.model.kind}: {scopes}")
    images = _normalised(trained, pixels)
    measured = tuple(Measured(measure, measure.read(trunk, images)) for measure in applicable)
    return Diagnosis(measured, len(pixels), max(trunk.spec.map_channels))


def middle_attention(trained: LoadedRun, pixels: NDArray[np.uint8]) -> list[list[NDArray[np.float64]]]:
    """What the middle token of each image attends to: the mean of the heads ``[rows, columns]`` of every layer.

    The list of an image is empty if the trunk has no self-attention.
    """
    maps: list[list[NDArray[np.float64]]] = [[] for _ in pixels]
    if not attentions(trained.net.backbone):
        return maps
    for _, matrix, grid, batch in attention_matrices(trained.net.backbone, _normalised(trained, pixels)):
        prefix = matrix.shape[-1] - grid[0] * grid[1]
        middle = prefix + (grid[0] // 2) * grid[1] + grid[1] // 2
        rows = matrix[:, :, middle, prefix:].mean(dim=1).unflatten(1, grid).double().numpy()
        for index, row in zip(range(batch.start, batch.stop), rows, strict=True):
            maps[index].append(row)
    return maps


def _check_one_camera(trained: LoadedRun) -> None:
    if trained.data.shapes.keys() != {ONE_VIEW}:
        raise ValueError(f"this run has {len(trained.data.shapes)} cameras, and diagnose reads runs with one")


def _normalised(trained: LoadedRun, pixels: NDArray[np.uint8]) -> Tensor:
    return trained.data.normalisation[ONE_VIEW](torch.from_numpy(pixels))
