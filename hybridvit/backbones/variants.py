"""Every named model: a short function that returns a configuration, with its paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hybridvit.backbones.hybrid import StagesConfig
from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.backbones.std_resnet import StdResNetConfig
from hybridvit.backbones.torchvision_cnn import TorchvisionConfig
from hybridvit.backbones.vit import ViTConfig
from hybridvit.backbones.wide_resnet import WideResNetConfig
from hybridvit.config import Config
from hybridvit.layers.tokenizers.conv import ConvConfig
from hybridvit.layers.tokenizers.conv_pool import ConvPoolConfig
from hybridvit.layers.tokenizers.patch import PatchConfig
from hybridvit.layers.tokenizers.t2t import T2TConfig


def vit_tiny_16() -> ViTConfig:
    """ViT-Ti/16, width 192 (arXiv 2106.10270, table 1)."""
    return ViTConfig(embed_dim=192, num_heads=3)


def vit_small_16() -> ViTConfig:
    """ViT-S/16, width 384 (arXiv 2106.10270, table 1)."""
    return ViTConfig(embed_dim=384, num_heads=6)


def vit_base_16() -> ViTConfig:
    """ViT-B/16, width 768 (arXiv 2010.11929, table 1)."""
    return ViTConfig(embed_dim=768, num_heads=12)


def deit_tiny() -> ViTConfig:
    """DeiT-Ti, the architecture of ViT-Ti/16 (arXiv 2012.12877, table 1)."""
    return vit_tiny_16()


def deit_small() -> ViTConfig:
    """DeiT-S, the architecture of ViT-S/16 (arXiv 2012.12877, table 1)."""
    return vit_small_16()


def deit_base() -> ViTConfig:
    """DeiT-B, the architecture of ViT-B/16 (arXiv 2012.12877, table 1)."""
    return vit_base_16()


def deit_tiny_distilled() -> ViTConfig:
    """DeiT-Ti with a distillation token and its head (arXiv 2012.12877, §4)."""
    return replace(deit_tiny(), distilled=True)


def deit_small_distilled() -> ViTConfig:
    """DeiT-S with a distillation token and its head (arXiv 2012.12877, §4)."""
    return replace(deit_small(), distilled=True)


def deit_base_distilled() -> ViTConfig:
    """DeiT-B with a distillation token and its head (arXiv 2012.12877, §4)."""
    return replace(deit_base(), distilled=True)


def _cait(num_heads: int) -> ViTConfig:
    return ViTConfig(
        embed_dim=48 * num_heads,
        depth=24,
        num_heads=num_heads,
        attention=("talking_heads",),
        pooling="class_attention",
        layer_scale=1e-5,
    )


def cait_xxs24() -> ViTConfig:
    """CaiT-XXS24: 4 heads of 48, 24 blocks, two class-attention blocks (arXiv 2103.17239, table 3)."""
    return _cait(num_heads=4)


def cait_xs24() -> ViTConfig:
    """CaiT-XS24: 6 heads of 48, 24 blocks, two class-attention blocks (arXiv 2103.17239, table 3)."""
    return _cait(num_heads=6)


def cait_s24() -> ViTConfig:
    """CaiT-S24: 8 heads of 48, 24 blocks, two class-attention blocks (arXiv 2103.17239, table 3)."""
    return _cait(num_heads=8)


def _t2t(num_heads: int, depth: int, mlp_ratio: float) -> ViTConfig:
    return ViTConfig(
        embed_dim=64 * num_heads,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        tokenizer=T2TConfig(),
        position="sincos1d",
        qkv_bias=False,
        norm_eps=1e-5,
    )


def t2t_vit_7() -> ViTConfig:
    """T2T-ViT-7, performer inside (arXiv 2101.11986, table 1); the authors' weights need qk_scale=256**-0.5."""
    return _t2t(num_heads=4, depth=7, mlp_ratio=2.0)


def t2t_vit_14() -> ViTConfig:
    """T2T-ViT-14, performer inside (arXiv 2101.11986, table 1); the authors' weights need qk_scale=384**-0.5."""
    return _t2t(num_heads=6, depth=14, mlp_ratio=3.0)


def t2t_vit_19() -> ViTConfig:
    """T2T-ViT-19, performer inside (arXiv 2101.11986, table 1); the authors' weights need qk_scale=448**-0.5."""
    return _t2t(num_heads=7, depth=19, mlp_ratio=3.0)


def t2t_vit_24() -> ViTConfig:
    """T2T-ViT-24, performer inside (arXiv 2101.11986, table 1); the authors' weights need qk_scale=512**-0.5."""
    return _t2t(num_heads=8, depth=24, mlp_ratio=3.0)


def vit_lite_7_4() -> ViTConfig:
    """ViT-Lite-7/4, the small-image ViT of the CCT paper (arXiv 2104.05704, table 1)."""
    return ViTConfig(
        embed_dim=256,
        depth=7,
        num_heads=4,
        mlp_ratio=2.0,
        tokenizer=PatchConfig(patch_size=4),
        qkv_bias=False,
        mlp_residual="normalised",
        norm_eps=1e-5,
    )


def cvt_7_4() -> ViTConfig:
    """CVT-7/4: ViT-Lite with sequence pooling instead of a class token (arXiv 2104.05704, table 1)."""
    return replace(vit_lite_7_4(), pooling="seq")


def cct_7_3x1() -> ViTConfig:
    """CCT-7/3x1: CVT with one 3x3 convolution and pool as tokenizer (arXiv 2104.05704, table 1)."""
    return replace(cvt_7_4(), tokenizer=ConvPoolConfig(kernel_size=3))


def cct_7_7x2() -> ViTConfig:
    """CCT-7/7x2: two 7x7 convolutions of stride 2, each with a pool, as tokenizer (arXiv 2104.05704, table 1)."""
    return replace(cvt_7_4(), tokenizer=ConvPoolConfig(kernel_size=7, stride=2, layers=2))


def cct_14_7x2() -> ViTConfig:
    """CCT-14/7x2: 14 blocks of 6 heads of 64, for 224 pixels (arXiv 2104.05704, table 1)."""
    return replace(cct_7_7x2(), embed_dim=384, depth=14, num_heads=6, mlp_ratio=3.0)


def hybrid_r_tiny() -> ViTConfig:
    """R+ViT-Ti/16: a ResNet's first convolution and pool, patches of 8 of its cells (arXiv 2106.10270, table 1)."""
    return replace(vit_tiny_16(), tokenizer=StagesConfig(cnn=StdResNetConfig(depths=()), patch_size=8))


def hybrid_r26_small() -> ViTConfig:
    """R26+ViT-S/32: four ResNet stages of two blocks before the transformer (arXiv 2106.10270, table 1)."""
    return replace(vit_small_16(), tokenizer=StagesConfig(cnn=StdResNetConfig(depths=(2, 2, 2, 2))))


def hybrid_r50_base() -> ViTConfig:
    """R50+ViT-B/16: three ResNet stages of 3, 4 and 9 blocks before the transformer (arXiv 2010.11929, §3.1)."""
    return replace(vit_base_16(), tokenizer=StagesConfig(cnn=StdResNetConfig(depths=(3, 4, 9))))


def hybrid_resnet18_tiny() -> ViTConfig:
    """Three stages of a small-image ResNet-18, stride 4, before ViT-Ti (after arXiv 2010.11929, §3.1)."""
    return replace(vit_tiny_16(), tokenizer=StagesConfig(cnn=ResNetConfig(depths=(2, 2, 2), stem="small")))


def early_conv_vit_tiny() -> ViTConfig:
    """ViT_C-1GF: four 3x3 convolutions of stride 2 instead of patches and of one block (arXiv 2106.14881, table 2)."""
    tokenizer = ConvConfig(channels=(24, 48, 96, 192), strides=(2, 2, 2, 2))
    return replace(vit_tiny_16(), depth=11, mlp_ratio=3.0, tokenizer=tokenizer)


def early_conv_vit_small() -> ViTConfig:
    """ViT_C-4GF: four 3x3 convolutions of stride 2 instead of patches and of one block (arXiv 2106.14881, table 2)."""
    tokenizer = ConvConfig(channels=(48, 96, 192, 384), strides=(2, 2, 2, 2))
    return replace(vit_small_16(), depth=11, mlp_ratio=3.0, tokenizer=tokenizer)


def dhvt_style_tiny() -> ViTConfig:
    """After DHVT-T/4: conv tokenizer, convolutional feed-forward, no positions; no head tokens (arXiv 2210.05958)."""
    return ViTConfig(
        embed_dim=192,
        num_heads=4,
        tokenizer=ConvConfig(channels=(96, 192), strides=(2, 2)),
        position="none",
        feedforward="conv",
    )


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
    """ResNet-18, its stem by the size of the images (arXiv 1512.03385, table 1 and §4.2)."""
    return ResNetConfig()


def resnet34() -> ResNetConfig:
    """ResNet-34, its stem by the size of the images (arXiv 1512.03385, table 1 and §4.2)."""
    return ResNetConfig(depths=(3, 4, 6, 3))


def resnet50() -> ResNetConfig:
    """ResNet-50, its stem by the size of the images (arXiv 1512.03385, table 1 and §4.2)."""
    return ResNetConfig(block="bottleneck", depths=(3, 4, 6, 3))


def wide_resnet16_8() -> WideResNetConfig:
    """WRN-16-8, for small images (arXiv 1605.07146, table 5)."""
    return WideResNetConfig(depth=16, width_factor=8)


def wide_resnet28_10() -> WideResNetConfig:
    """WRN-28-10, for small images (arXiv 1605.07146, table 5)."""
    return WideResNetConfig(depth=28, width_factor=10)


def botnet50() -> ResNetConfig:
    """BoTNet-50: ResNet-50 whose last stage attends instead of convolving (arXiv 2101.11605)."""
    return replace(resnet50(), attention_stages=(4,))


def resnet18_attention() -> ResNetConfig:
    """ResNet-18 with a self-attention block between its third and fourth stage (after arXiv 1711.07971, §4)."""
    return replace(resnet18(), attention_after=(3,))


def alexnet() -> TorchvisionConfig:
    """AlexNet's convolutions, its stem by the size of the images (arXiv 1404.5997; torchvision's)."""
    return TorchvisionConfig(name="alexnet")


def vgg11() -> TorchvisionConfig:
    """VGG-11's convolutions with batch norm (arXiv 1409.1556, table 1 A; torchvision's)."""
    return TorchvisionConfig(name="vgg11_bn")


def vgg16() -> TorchvisionConfig:
    """VGG-16's convolutions with batch norm (arXiv 1409.1556, table 1 D; torchvision's)."""
    return TorchvisionConfig(name="vgg16_bn")


def densenet121() -> TorchvisionConfig:
    """DenseNet-121, its stem by the size of the images (arXiv 1608.06993, table 1; torchvision's)."""
    return TorchvisionConfig(name="densenet121")


def efficientnet_b0() -> TorchvisionConfig:
    """EfficientNet-B0, its stem by the size of the images (arXiv 1905.11946, table 1; torchvision's)."""
    return TorchvisionConfig(name="efficientnet_b0")


VARIANTS: dict[str, Callable[[], Config]] = {
    variant.__name__: variant
    for variant in (
        alexnet,
        botnet50,
        cait_s24,
        cait_xs24,
        cait_xxs24,
        cct_14_7x2,
        cct_7_3x1,
        cct_7_7x2,
        convit_base,
        convit_base_plus,
        convit_small,
        convit_small_plus,
        convit_tiny,
        convit_tiny_plus,
        cvt_7_4,
        deit_base,
        deit_base_distilled,
        deit_small,
        deit_small_distilled,
        deit_tiny,
        deit_tiny_distilled,
        densenet121,
        dhvt_style_tiny,
        early_conv_vit_small,
        early_conv_vit_tiny,
        efficientnet_b0,
        hybrid_r26_small,
        hybrid_r50_base,
        hybrid_r_tiny,
        hybrid_resnet18_tiny,
        resnet18,
        resnet18_attention,
        resnet34,
        resnet50,
        t2t_vit_14,
        t2t_vit_19,
        t2t_vit_24,
        t2t_vit_7,
        vgg11,
        vgg16,
        vit_base_16,
        vit_lite_7_4,
        vit_small_16,
        vit_tiny_16,
        wide_resnet16_8,
        wide_resnet28_10,
    )
}

# Their papers' images are 32 pixels wide; everyone else's 224.
SMALL_IMAGE_MODELS = frozenset(
    (
        "alexnet",
        "botnet50",
        "cct_7_3x1",
        "cct_7_7x2",
        "cvt_7_4",
        "densenet121",
        "dhvt_style_tiny",
        "efficientnet_b0",
        "hybrid_resnet18_tiny",
        "resnet18",
        "resnet18_attention",
        "resnet34",
        "resnet50",
        "vgg11",
        "vgg16",
        "vit_lite_7_4",
        "wide_resnet16_8",
        "wide_resnet28_10",
    )
)


def usual_image_size(name: str) -> int:
    """Side of the images a named model is meant for, in pixels."""
    return 32 if name in SMALL_IMAGE_MODELS else 224
