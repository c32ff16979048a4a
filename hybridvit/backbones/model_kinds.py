"""The backbones that a recipe may name: the configuration of each kind, once, or the name of a model."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Discriminator

from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.backbones.std_resnet import StdResNetConfig
from hybridvit.backbones.timm_backbone import TimmConfig
from hybridvit.backbones.torchvision_cnn import TorchvisionConfig
from hybridvit.backbones.variants import VARIANTS
from hybridvit.backbones.vit import ViTConfig
from hybridvit.backbones.wide_resnet import WideResNetConfig
from hybridvit.config import nearest, plain

TIMM = "timm/"


def named_model(name: Any) -> Any:
    """The configuration of a model that is given by its name; anything else as it is.

    Raises:
        ValueError: there is no such model; the nearest names are given.
    """
    if not isinstance(name, str):
        return plain(name)
    if name.startswith(TIMM):
        return TimmConfig(name=name.removeprefix(TIMM))
    if name not in VARIANTS:
        raise ValueError(f"there is no model {name!r}: {nearest(name, VARIANTS)} (or timm/NAME for one of timm's)")
    return VARIANTS[name].config


ModelConfig = Annotated[
    ViTConfig | ResNetConfig | StdResNetConfig | WideResNetConfig | TorchvisionConfig | TimmConfig,
    Discriminator("kind"),
    BeforeValidator(named_model),
]
