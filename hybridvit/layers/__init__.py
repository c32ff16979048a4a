"""Layers: tensors in, tensors out."""

from hybridvit.layers.attention import MHSA as MHSA
from hybridvit.layers.attention import Attention as Attention
from hybridvit.layers.block import Block as Block
from hybridvit.layers.bottleneck_attention import BottleneckAttention as BottleneckAttention
from hybridvit.layers.class_attention import ClassAttention as ClassAttention
from hybridvit.layers.class_attention import ClassAttentionBlock as ClassAttentionBlock
from hybridvit.layers.feedforward import MLP as MLP
from hybridvit.layers.feedforward import ConvFeedForward as ConvFeedForward
from hybridvit.layers.gpsa import GPSA as GPSA
from hybridvit.layers.lsa import LSA as LSA
from hybridvit.layers.pooling import ClassTokenPool as ClassTokenPool
from hybridvit.layers.pooling import MeanPool as MeanPool
from hybridvit.layers.pooling import SequencePool as SequencePool
from hybridvit.layers.positions import LearnedPosition as LearnedPosition
from hybridvit.layers.positions import NoPosition as NoPosition
from hybridvit.layers.positions import SinCos1DPosition as SinCos1DPosition
from hybridvit.layers.positions import SinCosPosition as SinCosPosition
from hybridvit.layers.psa import PSA as PSA
from hybridvit.layers.relative import RelativeBias as RelativeBias
from hybridvit.layers.talking_heads import TalkingHeads as TalkingHeads
from hybridvit.layers.tokenizers.conv import ConvPoolTokenizer as ConvPoolTokenizer
from hybridvit.layers.tokenizers.conv import ConvTokenizer as ConvTokenizer
from hybridvit.layers.tokenizers.conv import OverlapTokenizer as OverlapTokenizer
from hybridvit.layers.tokenizers.patch import PatchTokenizer as PatchTokenizer
from hybridvit.layers.tokenizers.patch import ShiftedPatchTokenizer as ShiftedPatchTokenizer
from hybridvit.layers.tokenizers.t2t import T2TTokenizer as T2TTokenizer
