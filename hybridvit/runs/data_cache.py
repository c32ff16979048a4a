"""The data of a study, read once by each worker and not by every run."""

from __future__ import annotations

import json
from dataclasses import replace

from hybridvit.config import to_dict
from hybridvit.data.load import DataConfig, read, split
from hybridvit.data.samples import Splits
from hybridvit.recipe import Recipe
from hybridvit.runs.net import column_requests

_held: dict[str, Splits] = {}  # the last data set that this process read


def splits_of(recipe: Recipe) -> Splits:
    """The splits of a run; its data set is read unless the run before had the same."""
    requests = column_requests(recipe.tasks, recipe.data.names)
    plain, data = DataConfig(), recipe.data
    by_run = {name: getattr(plain, name) for name in ("train_images", "validation", "validation_from", "hide")}
    kinds = [(name, request.kind) for name, request in requests.items()]  # in order: the first one stratifies
    key = json.dumps([to_dict(replace(data, **by_run)), kinds])
    if key not in _held:
        _held.clear()
        _held[key] = read(data, requests)
    return split(_held[key], data, recipe.seed, requests)
