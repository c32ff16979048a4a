"""The tokenizers that a ViT may have: the configuration of each, once."""

from typing import Annotated

from pydantic import Discriminator

from hybridvit.backbones.hybrid import StagesConfig
from hybridvit.layers.tokenizers.conv import ConvConfig
from hybridvit.layers.tokenizers.conv_pool import ConvPoolConfig
from hybridvit.layers.tokenizers.overlap import OverlapConfig
from hybridvit.layers.tokenizers.patch import PatchConfig
from hybridvit.layers.tokenizers.shifted_patch import ShiftedPatchConfig
from hybridvit.layers.tokenizers.t2t import T2TConfig

TokenizerConfig = Annotated[
    PatchConfig | OverlapConfig | ConvConfig | ConvPoolConfig | ShiftedPatchConfig | T2TConfig | StagesConfig,
    Discriminator("kind"),
]
