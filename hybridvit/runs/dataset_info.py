"""What a trained model needs of its data, as dataset.json keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from hybridvit.data.file_images import for_statistics
from hybridvit.data.loaders.batches import EvaluationLoader
from hybridvit.data.loaders.device_loader import Normalisation
from hybridvit.data.rig import Rig
from hybridvit.data.samples import SPLITS, Column, Samples, Splits

EVALUATION_BATCH = 1024
EVALUATION_VALUES = 8 * 1024 * 1024  # pixel values in a batch of evaluation, where images are large


@dataclass(frozen=True)
class DatasetInfo:
    """A data set without its images.

    Attributes:
        name: what it is called in reports.
        columns: what the target columns hold.
        shapes: channels, height and width of each view.
        normalisation: of each view, from its training images.
        sizes: height and width of each column of masks.
        images: number of samples in each split.
        rig: geometry of the cameras, if it is known.
    """

    name: str
    columns: Mapping[str, Column]
    shapes: Mapping[str, tuple[int, int, int]]
    normalisation: Mapping[str, Normalisation]
    sizes: Mapping[str, tuple[int, int]]
    images: Mapping[str, int]
    rig: Rig | None

    @classmethod
    def of(cls, splits: Splits) -> DatasetInfo:
        """Of a data set; a view is normalised by its own training images."""
        train = splits.train
        normalisation = {}
        for view, images in train.views.items():
            present = train.present.get(view)
            seen = images if present is None else images[present]
            if not len(seen):
                raise ValueError(f"{splits.name}: no training sample has the view {view!r}")
            normalisation[view] = Normalisation.of(for_statistics(seen))
        images_in = {split: len(getattr(splits, split)) for split in SPLITS}
        sizes = mask_sizes(splits.columns, train)
        return cls(splits.name, splits.columns, splits.shapes, normalisation, sizes, images_in, splits.rig)

    @property
    def evaluation_batch(self) -> int:
        """Samples in a batch of evaluation, fewer where images are large."""
        values = sum(c * h * w for c, h, w in self.shapes.values())
        return max(min(EVALUATION_BATCH, EVALUATION_VALUES // values), 1)

    def evaluation_batches(self, samples: Samples, device: torch.device) -> Any:
        """All samples once, in order, without augmentation."""
        return EvaluationLoader(samples, self.columns, self.normalisation, self.evaluation_batch, device)

    def with_columns(
        self, columns: Mapping[str, Column], sizes: Mapping[str, tuple[int, int]] | None = None
    ) -> DatasetInfo:
        """The same with further target columns."""
        return replace(self, columns={**self.columns, **columns}, sizes={**self.sizes, **(sizes or {})})

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        views = {view: {"shape": shape, **asdict(self.normalisation[view])} for view, shape in self.shapes.items()}
        return {
            "name": self.name,
            **columns_to_json(self.columns, self.sizes),
            "views": views,
            "images": dict(self.images),
            "rig": json.loads(self.rig.to_json()) if self.rig is not None else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DatasetInfo:
        """What :meth:`to_json` gave."""
        views = data["views"]
        columns, sizes = columns_from_json(data)
        return cls(
            data["name"],
            columns,
            {view: (v["shape"][0], v["shape"][1], v["shape"][2]) for view, v in views.items()},
            {view: Normalisation(tuple(v["mean"]), tuple(v["std"])) for view, v in views.items()},
            sizes,
            data["images"],
            Rig.from_json(json.dumps(data["rig"])) if data["rig"] is not None else None,
        )


def mask_sizes(columns: Mapping[str, Column], samples: Samples) -> dict[str, tuple[int, int]]:
    """Height and width of each of the columns that holds masks."""
    shapes = {name: samples.targets[name].shape for name, column in columns.items() if column.kind == "mask"}
    return {name: (height, width) for name, (_, height, width) in shapes.items()}


def columns_to_json(columns: Mapping[str, Column], sizes: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """Target columns and the sizes of their masks as JSON values."""
    return {"columns": {name: asdict(column) for name, column in columns.items()}, "mask_sizes": dict(sizes)}


def columns_from_json(data: Mapping[str, Any]) -> tuple[dict[str, Column], dict[str, tuple[int, int]]]:
    """What :func:`columns_to_json` took."""
    columns = {name: Column(c["kind"], tuple(c["names"])) for name, c in data["columns"].items()}
    return columns, {name: (height, width) for name, (height, width) in data["mask_sizes"].items()}
