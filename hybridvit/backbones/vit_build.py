"""A vision transformer's configuration becomes its five sockets and the module that runs them."""

from __future__ import annotations

from torch import nn

from hybridvit.backbones.features import FeatureSpec, Pooling
from hybridvit.backbones.hybrid import StagesTokenizer
from hybridvit.backbones.resnet import ResNet, ResNetConfig
from hybridvit.backbones.std_resnet import StdResNet, StdResNetConfig
from hybridvit.backbones.tokenizer_configs import (
    ConvConfig,
    ConvPoolConfig,
    OverlapConfig,
    PatchConfig,
    ShiftedPatchConfig,
    StagesConfig,
    T2TConfig,
    TokenizerConfig,
)
from hybridvit.backbones.vit import ViT
from hybridvit.backbones.vit_config import AttentionKind, ViTConfig
from hybridvit.layers.attention import MHSA, Attention
from hybridvit.layers.block import Block
from hybridvit.layers.class_attention import ClassAttentionBlock
from hybridvit.layers.feedforward import MLP, ConvFeedForward
from hybridvit.layers.gpsa import GPSA
from hybridvit.layers.initialisation import init_mimetic
from hybridvit.layers.lsa import LSA
from hybridvit.layers.positions import LearnedPosition, NoPosition, SinCos1DPosition, SinCosPosition
from hybridvit.layers.psa import PSA
from hybridvit.layers.relative import RelativeBias
from hybridvit.layers.t2t import T2TTokenizer
from hybridvit.layers.talking_heads import TalkingHeads
from hybridvit.layers.tokenizers import (
    ConvPoolTokenizer,
    ConvTokenizer,
    OverlapTokenizer,
    PatchTokenizer,
    ShiftedPatchTokenizer,
)

Tokenizer = (
    PatchTokenizer
    | OverlapTokenizer
    | ConvTokenizer
    | ConvPoolTokenizer
    | ShiftedPatchTokenizer
    | T2TTokenizer
    | StagesTokenizer
)


def build_vit(config: ViTConfig, image_size: tuple[int, int], in_channels: int) -> ViT:
    """The module of a :class:`ViTConfig` for images of this height and width, in pixels.

    Raises:
        ValueError: the images and the tokenizer do not fit together.
    """
    tokenizer = _tokenizer(config.tokenizer, image_size, in_channels, config.embed_dim - config.position_dim)
    grid = tokenizer.grid(*image_size)
    maps = dict(tokenizer.map_channels) if isinstance(tokenizer, StagesTokenizer) else {}
    pooling: Pooling = "cls" if config.pooling == "class_attention" else config.pooling
    spec = FeatureSpec(
        embed_dim=config.embed_dim,
        grid=grid,
        prefix_tokens=config.prefix_tokens,
        pooling=pooling,
        map_channels={**maps, tokenizer.stride: config.embed_dim},
        distilled=config.distilled,
    )
    # The order in which random start values are drawn is a promise to seeded runs.
    blocks = [_block(index, config, grid) for index in range(config.depth)]
    class_depth = config.class_attention_depth if config.pooling == "class_attention" else 0
    return ViT(
        tokenizer,
        _position(config, grid),
        blocks,
        [_class_block(config) for _ in range(class_depth)],
        spec,
        class_token_layer=config.class_token_layer,
        dropout=config.dropout,
        norm_eps=config.norm_eps,
    )


def _tokenizer(config: TokenizerConfig, image_size: tuple[int, int], in_channels: int, dim: int) -> Tokenizer:
    match config:
        case PatchConfig():
            return PatchTokenizer(in_channels, dim, config.patch_size)
        case OverlapConfig():
            return OverlapTokenizer(in_channels, dim, config.kernel_size, config.stride)
        case ConvConfig():
            return ConvTokenizer(in_channels, dim, config.channels, config.strides)
        case ConvPoolConfig():
            return ConvPoolTokenizer(
                in_channels, dim, config.kernel_size, config.stride, config.layers, config.hidden_dim
            )
        case ShiftedPatchConfig():
            return ShiftedPatchTokenizer(in_channels, dim, config.patch_size)
        case T2TConfig():
            return T2TTokenizer(in_channels, dim, config.token_dim, config.inner)
        case StagesConfig(cnn=ResNetConfig() as cnn):
            return StagesTokenizer(ResNet(cnn, image_size, in_channels), dim, config.patch_size)
        case StagesConfig(cnn=StdResNetConfig() as cnn):
            return StagesTokenizer(StdResNet(cnn, image_size, in_channels), dim, config.patch_size)
        case _:
            raise AssertionError(f"a tokenizer without a builder: {config}")


def _position(config: ViTConfig, grid: tuple[int, int]) -> nn.Module:
    width, concat = config.position_dim or config.embed_dim, config.position_dim > 0
    match config.position:
        case "learned":
            return LearnedPosition(width, grid, concat)
        case "sincos2d":
            return SinCosPosition(width, grid, concat)
        case "sincos1d":
            first = config.prefix_tokens if config.pooling == "cls" and config.class_token_layer == 0 else 0
            return SinCos1DPosition(width, grid, concat, first)
        case _:
            return NoPosition()


def _block(index: int, config: ViTConfig, grid: tuple[int, int]) -> Block:
    prefix = config.pooling == "cls" and index >= config.class_token_layer
    return Block(
        config.embed_dim,
        _attention(config.layer_attention[index], config, grid),
        _feedforward(config, prefix),
        drop_path=config.drop_path * index / max(config.depth - 1, 1),
        layer_scale=config.layer_scale,
        mlp_residual=config.mlp_residual,
        norm_eps=config.norm_eps,
    )


def _attention(kind: AttentionKind, config: ViTConfig, grid: tuple[int, int]) -> Attention:
    dim, heads, bias = config.embed_dim, config.num_heads, config.qkv_bias
    norm, scale = config.qk_norm, config.qk_scale
    if kind == "gpsa" or kind == "psa":
        strength = None if config.initialisation == "random" else config.locality_strength
        positional = GPSA if kind == "gpsa" else PSA
        return positional(dim, heads, bias, qk_norm=norm, qk_scale=scale, locality_strength=strength)
    relative = RelativeBias(heads, grid) if config.position == "relative" else None
    layer = {"mhsa": MHSA, "lsa": LSA, "talking_heads": TalkingHeads}[kind]
    attention = layer(dim, heads, bias, qk_norm=norm, qk_scale=scale, bias=relative)
    if config.initialisation == "mimetic":
        init_mimetic(attention.qkv, attention.proj, heads)
    return attention


def _feedforward(config: ViTConfig, prefix: bool) -> MLP | ConvFeedForward:
    hidden = round(config.embed_dim * config.mlp_ratio)
    if config.feedforward == "conv":
        return ConvFeedForward(config.embed_dim, hidden, config.dropout, prefix)
    return MLP(config.embed_dim, hidden, config.dropout)


def _class_block(config: ViTConfig) -> ClassAttentionBlock:
    return ClassAttentionBlock(
        config.embed_dim,
        config.num_heads,
        round(config.embed_dim * config.mlp_ratio),
        config.qkv_bias,
        config.layer_scale,
        config.norm_eps,
    )
