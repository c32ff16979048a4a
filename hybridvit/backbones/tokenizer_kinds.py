"""The tokenizers that a ViT may have: the configuration of each, once."""

from typing import Annotated

from pydantic import Discriminator

from hybridvit.backbones.hybrid import StagesConfig
from hybridvit.layers.tokenizers.conv import ConvConfig, ConvPoolConfig, OverlapConfig
from hybridvit.layers.tokenizers.patch import PatchConfig, ShiftedPatchConfig
from hybridvit.layers.tokenizers.t2t import T2TConfig

TokenizerConfig = Annotated[
    PatchConfig | OverlapConfig | ConvConfig | ConvPoolConfig | ShiftedPatchConfig | T2TConfig | StagesConfig,
    Discriminator("kind"),
]
