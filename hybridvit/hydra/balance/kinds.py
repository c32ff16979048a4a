"""The balancing methods to choose from."""

from typing import Annotated

from pydantic import Discriminator

from hybridvit.hydra.balance.base import FixedConfig, SumConfig
from hybridvit.hydra.balance.gradient_methods import (
    AlignedMTLConfig,
    CAGradConfig,
    MGDAConfig,
    NashMTLConfig,
    PCGradConfig,
    UPGradConfig,
)
from hybridvit.hydra.balance.loss_weighting import DWAConfig, FAMOConfig, GradNormConfig, UncertaintyConfig

BalanceConfig = Annotated[
    SumConfig
    | FixedConfig
    | UncertaintyConfig
    | DWAConfig
    | GradNormConfig
    | FAMOConfig
    | PCGradConfig
    | MGDAConfig
    | CAGradConfig
    | NashMTLConfig
    | UPGradConfig
    | AlignedMTLConfig,
    Discriminator("kind"),
]
