"""Every named model: a short function that returns a configuration, with its paper."""

from __future__ import annotations

from collections.abc import Callable

from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.backbones.vit import PatchConfig, ViTConfig

ModelConfig = ViTConfig | ResNetConfig


def vit_tiny_16() -> ViTConfig:
    """ViT-Ti/16, width 192 (arXiv 2106.10270, table 1)."""
    return ViTConfig(embed_dim=192, num_heads=3)


def vit_small_16() -> ViTConfig:
    """ViT-S/16, width 384 (arXiv 2106.10270, table 1)."""
    return ViTConfig(embed_dim=384, num_heads=6)


def vit_base_16() -> ViTConfig:
    """ViT-B/16, width 768 (arXiv 2010.11929, table 1)."""
    return ViTConfig(embed_dim=768, num_heads=12)


def vit_lite_7_4() -> ViTConfig:
    """ViT-Lite-7/4, the small-image ViT of the CCT paper (arXiv 2104.05704, table 1)."""
    return ViTConfig(embed_dim=256, depth=7, num_heads=4, mlp_ratio=2.0, tokenizer=PatchConfig(patch_size=4))


def _convit(num_heads: int, head_dim: int) -> ViTConfig:
    return ViTConfig(
        embed_dim=num_heads * head_dim,
        num_heads=num_heads,
        attention=("gpsa",) * 10 + ("mhsa",) * 2,
        class_token_layer=10,
        qkv_bias=False,
    )


def convit_tiny() -> ViTConfig:
    """ConViT-Ti: 4 heads of 48, ten GPSA blocks, then class token and two MHSA blocks (arXiv 2103.10697, table 1)."""
    return _convit(num_heads=4, head_dim=48)


def convit_small() -> ViTConfig:
    """ConViT-S: 9 heads of 48 (arXiv 2103.10697, table 1)."""
    return _convit(num_heads=9, head_dim=48)


def convit_base() -> ViTConfig:
    """ConViT-B: 16 heads of 48 (arXiv 2103.10697, table 1)."""
    return _convit(num_heads=16, head_dim=48)


def convit_tiny_plus() -> ViTConfig:
    """ConViT-Ti+: 4 heads of 64 (arXiv 2103.10697, table 1)."""
    return _convit(num_heads=4, head_dim=64)


def convit_small_plus() -> ViTConfig:
    """ConViT-S+: 9 heads of 64 (arXiv 2103.10697, table 1)."""
    return _convit(num_heads=9, head_dim=64)


def convit_base_plus() -> ViTConfig:
    """ConViT-B+: 16 heads of 64 (arXiv 2103.10697, table 1)."""
    return _convit(num_heads=16, head_dim=64)


def resnet18() -> ResNetConfig:
    """ResNet-18 with the small-image stem (arXiv 1512.03385, table 1 and §4.2)."""
    return ResNetConfig()


def resnet34() -> ResNetConfig:
    """ResNet-34 with the small-image stem (arXiv 1512.03385, table 1 and §4.2)."""
    return ResNetConfig(depths=(3, 4, 6, 3))


def resnet50() -> ResNetConfig:
    """ResNet-50 with the small-image stem (arXiv 1512.03385, table 1 and §4.2)."""
    return ResNetConfig(block="bottleneck", depths=(3, 4, 6, 3))


VARIANTS: dict[str, Callable[[], ModelConfig]] = {
    variant.__name__: variant
    for variant in (
        convit_base,
        convit_base_plus,
        convit_small,
        convit_small_plus,
        convit_tiny,
        convit_tiny_plus,
        resnet18,
        resnet34,
        resnet50,
        vit_base_16,
        vit_lite_7_4,
        vit_small_16,
        vit_tiny_16,
    )
}
