"""Backbones: images in, features out."""

from hybridvit.backbones.features import Backbone, Features, FeatureSpec
from hybridvit.backbones.resnet import ResNet, ResNetConfig
from hybridvit.backbones.vit import ConvConfig, PatchConfig, ViT, ViTConfig

__all__ = [
    "Backbone",
    "ConvConfig",
    "FeatureSpec",
    "Features",
    "PatchConfig",
    "ResNet",
    "ResNetConfig",
    "ViT",
    "ViTConfig",
]
