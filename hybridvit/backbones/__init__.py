"""Backbones: images in, features out."""

from hybridvit.backbones.features import Backbone, Features, FeatureSpec
from hybridvit.backbones.hybrid import StagesConfig
from hybridvit.backbones.resnet import ResNet, ResNetConfig
from hybridvit.backbones.std_resnet import StdResNet, StdResNetConfig
from hybridvit.backbones.timm_backbone import TimmBackbone, TimmConfig
from hybridvit.backbones.torchvision_cnn import TorchvisionCNN, TorchvisionConfig
from hybridvit.backbones.vit import ViT, ViTConfig
from hybridvit.backbones.wide_resnet import WideResNet, WideResNetConfig
from hybridvit.layers.tokenizers.conv import ConvConfig
from hybridvit.layers.tokenizers.conv_pool import ConvPoolConfig
from hybridvit.layers.tokenizers.overlap import OverlapConfig
from hybridvit.layers.tokenizers.patch import PatchConfig
from hybridvit.layers.tokenizers.shifted_patch import ShiftedPatchConfig
from hybridvit.layers.tokenizers.t2t import T2TConfig

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
