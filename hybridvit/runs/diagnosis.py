"""What a trained run attends to: gates and attention distance by layer, and where one token looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hybridvit.data.samples import ONE_VIEW
from hybridvit.diagnostics.gates import gates
from hybridvit.diagnostics.locality import attention_distance
from hybridvit.diagnostics.record import attention_matrices, attentions
from hybridvit.layers.gpsa import GPSA
from hybridvit.runs.loaded_run import LoadedRun


@dataclass(frozen=True)
class Layer:
    """One self-attention.

    Attributes:
        kind: of attention.
        distance: mean distance of what each head attends to, in pixels ``[heads]``.
        relative: the same as a share of that of uniform attention ``[heads]``.
        gates: σ(λ) of each head; None where there is no gate.
    """

    kind: str
    distance: list[float]
    relative: list[float]
    gates: list[float] | None


@dataclass(frozen=True)
class Diagnosis:
    """What all layers of a run do on some images.

    Attributes:
        layers: first to last.
        uniform: distance under uniform attention, in pixels, by layer.
        images: number of images.
        stride: pixels from one token to the next.
    """

    layers: tuple[Layer, ...]
    uniform: list[float]
    images: int
    stride: int

    def to_json(self) -> dict[str, Any]:
        """As plain values, layers counted from 1."""
        layers = [
            {
                "layer": index,
                "kind": layer.kind,
                "distance": layer.distance,
                "relative": layer.relative,
                "gates": layer.gates,
            }
            for index, layer in enumerate(self.layers, start=1)
        ]
        return {"images": self.images, "stride": self.stride, "layers": layers, "uniform": self.uniform}


def some_images(trained: LoadedRun, count: int) -> NDArray[np.uint8]:
    """A seeded choice of the run's test images ``[n, c, h, w]``; of validation or training ones where there are none.

    Raises:
        ValueError: the run has several cameras.
    """
    _check_one_camera(trained)
    splits = trained.load()
    part = next(name for name in ("test", "validation", "train") if len(getattr(splits, name)))
    whole = getattr(splits, part)
    chosen = np.sort(np.random.default_rng(0).permutation(len(whole))[:count])
    pixels: NDArray[np.uint8] = whole[chosen].in_memory().views[ONE_VIEW]
    return pixels


def diagnose(trained: LoadedRun, pixels: NDArray[np.uint8]) -> Diagnosis:
    """Reads every self-attention of a run's trunk.

    Args:
        trained: a run with one camera.
        pixels: images ``[n, c, h, w]`` as large as the run's.

    Raises:
        ValueError: several cameras, or a trunk without self-attention.
    """
    _check_one_camera(trained)
    trunk: Any = trained.net.backbone
    layers = attentions(trunk)
    if not layers:
        raise ValueError(
            f"{trained.path} has no self-attention to look into: its model is a {trained.recipe.model.kind}"
        )
    found = attention_distance(trunk, _normalised(trained, pixels))
    if not found.uniform.all():
        raise ValueError(f"{trained.path} sees an image as one token, so there is no distance to measure")
    gated = iter(gates(trunk).tolist())
    stride = int(trunk.stride)
    return Diagnosis(
        tuple(
            Layer(
                type(layer).__name__,
                (stride * distance).tolist(),
                relative.tolist(),
                next(gated) if isinstance(layer, GPSA) else None,
            )
            for layer, distance, relative in zip(layers, found.distance, found.relative, strict=True)
        ),
        (stride * found.uniform).tolist(),
        len(pixels),
        stride,
    )


def middle_looks(trained: LoadedRun, pixels: NDArray[np.uint8]) -> list[list[NDArray[np.float64]]]:
    """Where the token in the middle of each image looks, by layer: mean of the heads, ``[rows, columns]``."""
    maps: list[list[NDArray[np.float64]]] = [[] for _ in pixels]
    for _, matrix, grid, part in attention_matrices(trained.net.backbone, _normalised(trained, pixels)):
        prefix = matrix.shape[-1] - grid[0] * grid[1]
        middle = prefix + (grid[0] // 2) * grid[1] + grid[1] // 2
        looks = matrix[:, :, middle, prefix:].mean(dim=1).unflatten(1, grid).double().numpy()
        for index, look in zip(range(part.start, part.stop), looks, strict=True):
            maps[index].append(look)
    return maps


def _check_one_camera(trained: LoadedRun) -> None:
    if trained.data.shapes.keys() != {ONE_VIEW}:
        raise ValueError(f"this run has {len(trained.data.shapes)} cameras, and diagnose looks into runs with one")


def _normalised(trained: LoadedRun, pixels: NDArray[np.uint8]) -> Tensor:
    return trained.data.normalisation[ONE_VIEW](torch.from_numpy(pixels))
