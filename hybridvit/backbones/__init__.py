"""Backbones: images in, features out."""

from hybridvit.backbones.features import Backbone, Features, FeatureSpec
from hybridvit.backbones.resnet import ResNet, ResNetConfig
from hybridvit.backbones.std_resnet import StdResNet, StdResNetConfig
from hybridvit.backbones.timm_backbone import TimmBackbone, TimmConfig
from hybridvit.backbones.tokenizer_configs import (
    ConvConfig,
    ConvPoolConfig,
    OverlapConfig,
    PatchConfig,
    ShiftedPatchConfig,
    StagesConfig,
    T2TConfig,
)
from hybridvit.backbones.torchvision_cnn import TorchvisionCNN, TorchvisionConfig
from hybridvit.backbones.vit import ViT
from hybridvit.backbones.vit_config import ViTConfig
from hybridvit.backbones.wide_resnet import WideResNet, WideResNetConfig

__all__ = [
    "Backbone",
    "ConvConfig",
    "ConvPoolConfig",
    "FeatureSpec",
    "Features",
    "OverlapConfig",
    "PatchConfig",
    "ResNet",
    "ResNetConfig",
    "ShiftedPatchConfig",
    "StagesConfig",
    "StdResNet",
    "StdResNetConfig",
    "T2TConfig",
    "TimmBackbone",
    "TimmConfig",
    "TorchvisionCNN",
    "TorchvisionConfig",
    "ViT",
    "ViTConfig",
    "WideResNet",
    "WideResNetConfig",
]
