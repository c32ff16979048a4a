"""Backbones: images in, features out."""

from hybridvit.backbones.features import Backbone as Backbone
from hybridvit.backbones.features import Features as Features
from hybridvit.backbones.features import FeatureSpec as FeatureSpec
from hybridvit.backbones.hybrid import StagesConfig as StagesConfig
from hybridvit.backbones.resnet import ResNet as ResNet
from hybridvit.backbones.resnet import ResNetConfig as ResNetConfig
from hybridvit.backbones.std_resnet import StdResNet as StdResNet
from hybridvit.backbones.std_resnet import StdResNetConfig as StdResNetConfig
from hybridvit.backbones.timm_backbone import TimmBackbone as TimmBackbone
from hybridvit.backbones.timm_backbone import TimmConfig as TimmConfig
from hybridvit.backbones.torchvision_cnn import TorchvisionCNN as TorchvisionCNN
from hybridvit.backbones.torchvision_cnn import TorchvisionConfig as TorchvisionConfig
from hybridvit.backbones.vit import ViT as ViT
from hybridvit.backbones.vit import ViTConfig as ViTConfig
from hybridvit.backbones.wide_resnet import WideResNet as WideResNet
from hybridvit.backbones.wide_resnet import WideResNetConfig as WideResNetConfig
from hybridvit.layers.tokenizers.conv import ConvConfig as ConvConfig
from hybridvit.layers.tokenizers.conv import ConvPoolConfig as ConvPoolConfig
from hybridvit.layers.tokenizers.conv import OverlapConfig as OverlapConfig
from hybridvit.layers.tokenizers.patch import PatchConfig as PatchConfig
from hybridvit.layers.tokenizers.patch import ShiftedPatchConfig as ShiftedPatchConfig
from hybridvit.layers.tokenizers.t2t import T2TConfig as T2TConfig
