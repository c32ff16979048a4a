"""What a trained model needs of its data, as dataset.json keeps it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybridvit.data.file_images import FileImages, for_statistics
from hybridvit.data.loaders.device_loader import Normalisation
from hybridvit.data.rig import Rig
from hybridvit.data.samples import SPLITS, Column, Splits


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
        sizes = {}
        for name, column in splits.columns.items():
            if column.kind == "mask":
                height, width = train.targets[name].shape[1:]
                sizes[name] = (height, width)
        images_in = {split: len(getattr(splits, split)) for split in SPLITS}
        return cls(splits.name, splits.columns, splits.shapes, normalisation, sizes, images_in, splits.rig)

    def with_columns(
        self, columns: Mapping[str, Column], sizes: Mapping[str, tuple[int, int]] | None = None
    ) -> DatasetInfo:
        """The same with further target columns."""
        return replace(self, columns={**self.columns, **columns}, sizes={**self.sizes, **(sizes or {})})

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "name": self.name,
            "columns": {name: {"kind": c.kind, "names": list(c.names)} for name, c in self.columns.items()},
            "views": {
                view: {
                    "shape": list(shape),
                    "mean": list(self.normalisation[view].mean),
                    "std": list(self.normalisation[view].std),
                }
                for view, shape in self.shapes.items()
            },
            "mask_sizes": {name: list(size) for name, size in self.sizes.items()},
            "images": dict(self.images),
            "rig": json.loads(self.rig.to_json()) if self.rig is not None else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DatasetInfo:
        """What :meth:`to_json` gave."""
        views = data["views"]
        return cls(
            data["name"],
            {name: Column(c["kind"], tuple(c["names"])) for name, c in data["columns"].items()},
            {view: (v["shape"][0], v["shape"][1], v["shape"][2]) for view, v in views.items()},
            {view: Normalisation(tuple(v["mean"]), tuple(v["std"])) for view, v in views.items()},
            {name: (size[0], size[1]) for name, size in data["mask_sizes"].items()},
            data["images"],
            Rig.from_json(json.dumps(data["rig"])) if data["rig"] is not None else None,
        )


def images_digest(splits: Splits) -> str:
    """SHA-256 of all images (of those on disk, of which files they are) and of how they are split."""
    digest = hashlib.sha256()
    for split in SPLITS:
        samples = getattr(splits, split)
        digest.update(f"{split} {len(samples)}".encode())
        for view, images in samples.views.items():
            digest.update(view.encode())
            on_disk = isinstance(images, FileImages)
            digest.update(images.digest() if on_disk else np.ascontiguousarray(images).data)
            if view in samples.present:
                digest.update(np.ascontiguousarray(samples.present[view]).data)
    return digest.hexdigest()
