"""The optimisers that a recipe can choose from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator

from hybridvit.training.optimisers.adamw import AdamWConfig
from hybridvit.training.optimisers.muon import MuonConfig
from hybridvit.training.optimisers.sgd import SGDConfig

OptimConfig = Annotated[AdamWConfig | MuonConfig | SGDConfig, Discriminator("kind")]
