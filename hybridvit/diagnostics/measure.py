"""The contract of a diagnostic: what a measure says of itself, and what it returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

AXES = (("layer",), ("layer", "head"))


@dataclass(frozen=True)
class Reading:
    """The values of one measure.

    Attributes:
        values: float64 ``[layers, heads]``, or ``[layers]`` where the axes of the measure are ("layer",); NaN where a
            layer has no value.
        layers: the kind of each layer, such as "GPSA".
        reference: a value to compare with, ``[layers]``; None: there is none.
    """

    values: NDArray[np.float64]
    layers: tuple[str, ...]
    reference: NDArray[np.float64] | None = None

    @property
    def relative(self) -> NDArray[np.float64] | None:
        """The values as a share of the reference; NaN where that is zero, None without a reference."""
        if self.reference is None:
            return None
        with np.errstate(invalid="ignore", divide="ignore"):
            share: NDArray[np.float64] = (self.values.T / self.reference).T
        return share

    @property
    def numbers(self) -> list[int]:
        """The layers that have a value, counted from 1."""
        return [index for index, row in enumerate(self.values, start=1) if not np.isnan(row).all()]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A diagnostic, described so that tables, JSON, figures, pages and probes follow.

    Attributes:
        name: short and unique: the key in JSON and in the history of a training.
        title: heading on the page.
        unit: of the values; "" for a plain number.
        axes: of the values: ("layer",) or ("layer", "head").
        function: the public function.
        compute: (backbone, images ``[b, c, h, w]`` normalised as in training) -> :class:`Reading`. None: ``function``.
        applies: whether a backbone can be measured.
        models: the models that ``applies`` accepts, for errors: "models with GPSA layers".
        probe: the values are read without images (``compute`` gets None), so they are logged during training.
        reference: name of the value to compare with; "" where there is none.
        top: upper end of the values; None: open.
        digits: decimals in tables.
        caption: text below the figure, in plain sentences.
        definition: formula and source.
    """

    name: str
    title: str
    unit: str
    function: Callable[..., Any]
    applies: Callable[[nn.Module], bool]
    models: str
    caption: str
    definition: str
    axes: tuple[str, ...] = ("layer", "head")
    compute: Callable[[nn.Module, Any], Reading] | None = None
    probe: bool = False
    reference: str = ""
    top: float | None = None
    digits: int = 2

    def read(self, backbone: nn.Module, images: Tensor | None = None) -> Reading:
        """Measures a backbone.

        Raises:
            ValueError: the measure does not apply to it, has no images that it needs, or breaks its own contract.
        """
        if not self.applies(backbone):
            raise ValueError(f"{self.name} applies to {self.models}, given a {type(backbone).__name__}")
        if images is None and not self.probe:
            raise ValueError(f"{self.name} needs images, given none")
        reading: Reading = (self.compute or self.function)(backbone, None if self.probe else images)
        if self.axes not in AXES:
            raise ValueError(f"{self.name} must have the axes layer, or layer and head, given {self.axes}")
        if reading.values.shape[:1] != (len(reading.layers),):
            raise ValueError(f"{self.name} must have a row for each of {len(reading.layers)} layers")
        if reading.values.ndim != len(self.axes) or reading.values.dtype != np.float64:
            raise ValueError(f"{self.name} must have float64 values by {' and '.join(self.axes)}")
        if (reading.reference is None) is bool(self.reference):
            raise ValueError(f"{self.name} must have a reference exactly if it names one")
        return reading

    def probe_of(self, net: nn.Module) -> list[Any]:
        """The values of a net's backbone in the layers that have one, for the history of a training."""
        values = self.read(net.backbone).values  # type: ignore[arg-type]
        kept: list[Any] = values[~np.isnan(values.reshape(len(values), -1)).all(axis=1)].tolist()
        return kept
