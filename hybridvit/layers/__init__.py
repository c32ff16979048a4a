"""Layers: tensors in, tensors out."""

from hybridvit.layers.attention import MHSA, Attention
from hybridvit.layers.block import Block
from hybridvit.layers.bottleneck_attention import BottleneckAttention
from hybridvit.layers.class_attention import ClassAttention, ClassAttentionBlock
from hybridvit.layers.feedforward import MLP, ConvFeedForward
from hybridvit.layers.gpsa import GPSA
from hybridvit.layers.lsa import LSA
from hybridvit.layers.pooling import ClassTokenPool, MeanPool, SequencePool
from hybridvit.layers.positions import LearnedPosition, NoPosition, SinCos1DPosition, SinCosPosition
from hybridvit.layers.psa import PSA
from hybridvit.layers.relative import RelativeBias
from hybridvit.layers.talking_heads import TalkingHeads
from hybridvit.layers.tokenizers.conv import ConvTokenizer
from hybridvit.layers.tokenizers.conv_pool import ConvPoolTokenizer
from hybridvit.layers.tokenizers.overlap import OverlapTokenizer
from hybridvit.layers.tokenizers.patch import PatchTokenizer
from hybridvit.layers.tokenizers.shifted_patch import ShiftedPatchTokenizer
from hybridvit.layers.tokenizers.t2t import T2TTokenizer

__all__ = [
    "GPSA",
    "LSA",
    "MHSA",
    "MLP",
    "PSA",
    "Attention",
    "Block",
    "BottleneckAttention",
    "ClassAttention",
    "ClassAttentionBlock",
    "ClassTokenPool",
    "ConvFeedForward",
    "ConvPoolTokenizer",
    "ConvTokenizer",
    "LearnedPosition",
    "MeanPool",
    "NoPosition",
    "OverlapTokenizer",
    "PatchTokenizer",
    "RelativeBias",
    "SequencePool",
    "ShiftedPatchTokenizer",
    "SinCos1DPosition",
    "SinCosPosition",
    "T2TTokenizer",
    "TalkingHeads",
]
