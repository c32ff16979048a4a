"""Layers: tensors in, tensors out."""

from hybridvit.layers.attention import MHSA, Attention
from hybridvit.layers.block import Block
from hybridvit.layers.feedforward import MLP
from hybridvit.layers.gpsa import GPSA
from hybridvit.layers.pooling import ClassTokenPool, MeanPool
from hybridvit.layers.positions import LearnedPosition, NoPosition, SinCosPosition
from hybridvit.layers.tokenizers import ConvTokenizer, PatchTokenizer

__all__ = [
    "GPSA",
    "MHSA",
    "MLP",
    "Attention",
    "Block",
    "ClassTokenPool",
    "ConvTokenizer",
    "LearnedPosition",
    "MeanPool",
    "NoPosition",
    "PatchTokenizer",
    "SinCosPosition",
]
