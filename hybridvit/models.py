"""Model configurations become modules."""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatch

from hybridvit.backbones.features import Backbone, image_size_pair
from hybridvit.backbones.resnet import ResNet, ResNetConfig
from hybridvit.backbones.std_resnet import StdResNet, StdResNetConfig
from hybridvit.backbones.timm_backbone import TimmBackbone, TimmConfig
from hybridvit.backbones.tokenizer_configs import PatchConfig, ShiftedPatchConfig
from hybridvit.backbones.torchvision_cnn import TorchvisionCNN, TorchvisionConfig
from hybridvit.backbones.variants import VARIANTS, ModelConfig
from hybridvit.backbones.vit_build import build_vit
from hybridvit.backbones.vit_config import ViTConfig
from hybridvit.backbones.wide_resnet import WideResNet, WideResNetConfig
from hybridvit.config import nearest
from hybridvit.tasks.classification import Classifier

TIMM = "timm/"


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern such as ``convit*``, sorted; ``timm/NAME`` works too."""
    return sorted(name for name in VARIANTS if fnmatch(name, pattern))


def model_config(name: str, patch_size: int | None = None) -> ModelConfig:
    """The configuration of a named model, optionally with another patch size.

    Raises:
        ValueError: there is no such model (the nearest names are given), or it has no patches.
    """
    if name.startswith(TIMM):
        config: ModelConfig = TimmConfig(name=name.removeprefix(TIMM))
    elif name in VARIANTS:
        config = VARIANTS[name]()
    else:
        raise ValueError(f"there is no model {name!r}: {nearest(name, VARIANTS)} (or timm/NAME for one of timm's)")
    if patch_size is None:
        return config
    if not isinstance(config, ViTConfig) or not isinstance(config.tokenizer, PatchConfig | ShiftedPatchConfig):
        raise ValueError(f"{name} has no patches, so patch_size {patch_size} has no effect")
    return replace(config, tokenizer=replace(config.tokenizer, patch_size=patch_size))


def create_model(
    model: str | ModelConfig,
    num_classes: int = 1000,
    image_size: int | tuple[int, int] = 224,
    patch_size: int | None = None,
    in_channels: int = 3,
) -> Classifier:
    """A classifier, randomly initialised: images ``[b, in_channels, h, w]`` -> logits ``[b, num_classes]``.

    Args:
        model: a name from :func:`list_models`, ``timm/NAME``, or a configuration.
        num_classes: number of classes.
        image_size: height and width in pixels, or one number for both.
        patch_size: side of the patches in pixels, instead of the named model's own.
        in_channels: channels of the images.

    Raises:
        ValueError: unknown name, or sizes that do not fit.
    """
    return Classifier(create_backbone(model, image_size, patch_size, in_channels), num_classes)


def create_backbone(
    model: str | ModelConfig,
    image_size: int | tuple[int, int] = 224,
    patch_size: int | None = None,
    in_channels: int = 3,
) -> Backbone:
    """A backbone, randomly initialised: images ``[b, in_channels, h, w]`` -> Features.

    Arguments and errors as for :func:`create_model`.
    """
    if isinstance(model, str):
        model = model_config(model, patch_size)
    elif patch_size is not None:
        raise ValueError("patch_size goes with a name; a configuration has its own")
    if in_channels < 1:
        raise ValueError(f"in_channels must be at least 1, given {in_channels}")
    size = image_size_pair(image_size)
    match model:
        case ViTConfig():
            return build_vit(model, size, in_channels)
        case ResNetConfig():
            return ResNet(model, size, in_channels)
        case StdResNetConfig():
            return StdResNet(model, size, in_channels)
        case WideResNetConfig():
            return WideResNet(model, size, in_channels)
        case TorchvisionConfig():
            return TorchvisionCNN(model, size, in_channels)
        case TimmConfig():
            return TimmBackbone(model, size, in_channels)
