"""Every named model: its configuration and its paper, by the size of the images that it is meant for."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from hybridvit.backbones.hybrid import StagesConfig
from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.backbones.std_resnet import StdResNetConfig
from hybridvit.backbones.torchvision_cnn import TorchvisionConfig
from hybridvit.backbones.vit import ViTConfig
from hybridvit.backbones.wide_resnet import WideResNetConfig
from hybridvit.layers.tokenizers.conv import ConvConfig, ConvPoolConfig
from hybridvit.layers.tokenizers.patch import PatchConfig
from hybridvit.layers.tokenizers.t2t import T2TConfig


class Variant(NamedTuple):
    """A named model.

    Attributes:
        config: what it is.
        about: one line with its paper.
    """

    config: ViTConfig | ResNetConfig | WideResNetConfig | TorchvisionConfig
    about: str


VIT_TINY = ViTConfig(embed_dim=192, num_heads=3)
VIT_SMALL = ViTConfig(embed_dim=384, num_heads=6)
VIT_BASE = ViTConfig(embed_dim=768, num_heads=12)
VIT_LITE = ViTConfig(
    embed_dim=256,
    depth=7,
    num_heads=4,
    mlp_ratio=2.0,
    tokenizer=PatchConfig(patch_size=4),
    qkv_bias=False,
    mlp_residual="normalised",
    norm_eps=1e-5,
)
CVT = replace(VIT_LITE, pooling="seq")
CCT_7X2 = replace(CVT, tokenizer=ConvPoolConfig(kernel_size=7, stride=2, layers=2))
DHVT_STEM = ConvConfig(channels=(96, 192), strides=(2, 2))
RESNET18 = ResNetConfig()
RESNET50 = ResNetConfig(block="bottleneck", depths=(3, 4, 6, 3))


def cait(size: str, num_heads: int) -> Variant:
    """A CaiT of 24 blocks with heads of 48."""
    config = ViTConfig(
        embed_dim=48 * num_heads,
        depth=24,
        num_heads=num_heads,
        attention=("talking_heads",),
        pooling="class_attention",
        layer_scale=1e-5,
    )
    blocks = f"{num_heads} heads of 48, 24 blocks, two class-attention blocks"
    return Variant(config, f"CaiT-{size}: {blocks} (arXiv 2103.17239, table 3).")


def convit(num_heads: int, head_dim: int) -> ViTConfig:
    """A ConViT: ten blocks of GPSA, then the class token and two blocks of MHSA."""
    return ViTConfig(
        embed_dim=num_heads * head_dim,
        num_heads=num_heads,
        attention=("gpsa",) * 10 + ("mhsa",) * 2,
        class_token_layer=10,
        qkv_bias=False,
    )


def t2t(depth: int, num_heads: int, mlp_ratio: float) -> Variant:
    """A T2T-ViT with heads of 64."""
    config = ViTConfig(
        embed_dim=64 * num_heads,
        depth=depth,
        num_heads=num_heads,
        mlp_ratio=mlp_ratio,
        tokenizer=T2TConfig(),
        position="sincos1d",
        qkv_bias=False,
        norm_eps=1e-5,
    )
    weights = f"the authors' weights need qk_scale={config.embed_dim}**-0.5"
    return Variant(config, f"T2T-ViT-{depth}, performer inside (arXiv 2101.11986, table 1); {weights}.")


def hybrid(vit: ViTConfig, cnn: ResNetConfig | StdResNetConfig, patch_size: int = 1) -> ViTConfig:
    """A ViT on patches of a CNN's last map."""
    return replace(vit, tokenizer=StagesConfig(cnn=cnn, patch_size=patch_size))


def early_conv(flops: str, vit: ViTConfig, *channels: int) -> Variant:
    """A ViT with four 3x3 convolutions of stride 2 instead of patches and of one block."""
    config = replace(vit, depth=11, mlp_ratio=3.0, tokenizer=ConvConfig(channels=channels, strides=(2, 2, 2, 2)))
    stem = "four 3x3 convolutions of stride 2 instead of patches and of one block"
    return Variant(config, f"ViT_C-{flops}: {stem} (arXiv 2106.14881, table 2).")


def distilled(size: str, vit: ViTConfig) -> Variant:
    """A DeiT with a distillation token."""
    about = f"DeiT-{size} with a distillation token and its head (arXiv 2012.12877, §4)."
    return Variant(replace(vit, distilled=True), about)


MODELS_FOR_224_PIXELS: dict[str, Variant] = {
    "cait_s24": cait("S24", num_heads=8),
    "cait_xs24": cait("XS24", num_heads=6),
    "cait_xxs24": cait("XXS24", num_heads=4),
    "cct_14_7x2": Variant(
        replace(CCT_7X2, embed_dim=384, depth=14, num_heads=6, mlp_ratio=3.0),
        "CCT-14/7x2: 14 blocks of 6 heads of 64, for 224 pixels (arXiv 2104.05704, table 1).",
    ),
    "convit_base": Variant(convit(16, 48), "ConViT-B: 16 heads of 48 (arXiv 2103.10697, table 1)."),
    "convit_base_plus": Variant(convit(16, 64), "ConViT-B+: 16 heads of 64 (arXiv 2103.10697, table 1)."),
    "convit_small": Variant(convit(9, 48), "ConViT-S: 9 heads of 48 (arXiv 2103.10697, table 1)."),
    "convit_small_plus": Variant(convit(9, 64), "ConViT-S+: 9 heads of 64 (arXiv 2103.10697, table 1)."),
    "convit_tiny": Variant(
        convit(4, 48),
        "ConViT-Ti: 4 heads of 48, ten GPSA blocks, then class token and two MHSA blocks (arXiv 2103.10697, table 1).",
    ),
    "convit_tiny_plus": Variant(convit(4, 64), "ConViT-Ti+: 4 heads of 64 (arXiv 2103.10697, table 1)."),
    "deit_base": Variant(VIT_BASE, "DeiT-B, the architecture of ViT-B/16 (arXiv 2012.12877, table 1)."),
    "deit_base_distilled": distilled("B", VIT_BASE),
    "deit_small": Variant(VIT_SMALL, "DeiT-S, the architecture of ViT-S/16 (arXiv 2012.12877, table 1)."),
    "deit_small_distilled": distilled("S", VIT_SMALL),
    "deit_tiny": Variant(VIT_TINY, "DeiT-Ti, the architecture of ViT-Ti/16 (arXiv 2012.12877, table 1)."),
    "deit_tiny_distilled": distilled("Ti", VIT_TINY),
    "early_conv_vit_small": early_conv("4GF", VIT_SMALL, 48, 96, 192, 384),
    "early_conv_vit_tiny": early_conv("1GF", VIT_TINY, 24, 48, 96, 192),
    "hybrid_r26_small": Variant(
        hybrid(VIT_SMALL, StdResNetConfig(depths=(2, 2, 2, 2))),
        "R26+ViT-S/32: four ResNet stages of two blocks before the transformer (arXiv 2106.10270, table 1).",
    ),
    "hybrid_r50_base": Variant(
        hybrid(VIT_BASE, StdResNetConfig(depths=(3, 4, 9))),
        "R50+ViT-B/16: three ResNet stages of 3, 4 and 9 blocks before the transformer (arXiv 2010.11929, §3.1).",
    ),
    "hybrid_r_tiny": Variant(
        hybrid(VIT_TINY, StdResNetConfig(depths=()), patch_size=8),
        "R+ViT-Ti/16: a ResNet's first convolution and pool, patches of 8 of its cells (arXiv 2106.10270, table 1).",
    ),
    "t2t_vit_14": t2t(14, num_heads=6, mlp_ratio=3.0),
    "t2t_vit_19": t2t(19, num_heads=7, mlp_ratio=3.0),
    "t2t_vit_24": t2t(24, num_heads=8, mlp_ratio=3.0),
    "t2t_vit_7": t2t(7, num_heads=4, mlp_ratio=2.0),
    "vit_base_16": Variant(VIT_BASE, "ViT-B/16, width 768 (arXiv 2010.11929, table 1)."),
    "vit_small_16": Variant(VIT_SMALL, "ViT-S/16, width 384 (arXiv 2106.10270, table 1)."),
    "vit_tiny_16": Variant(VIT_TINY, "ViT-Ti/16, width 192 (arXiv 2106.10270, table 1)."),
}

MODELS_FOR_32_PIXELS: dict[str, Variant] = {
    "alexnet": Variant(
        TorchvisionConfig(name="alexnet"),
        "AlexNet's convolutions, its stem by the size of the images (arXiv 1404.5997; torchvision's).",
    ),
    "botnet50": Variant(
        replace(RESNET50, attention_stages=(4,)),
        "BoTNet-50: ResNet-50 whose last stage attends instead of convolving (arXiv 2101.11605).",
    ),
    "cct_7_3x1": Variant(
        replace(CVT, tokenizer=ConvPoolConfig(kernel_size=3)),
        "CCT-7/3x1: CVT with one 3x3 convolution and pool as tokenizer (arXiv 2104.05704, table 1).",
    ),
    "cct_7_7x2": Variant(
        CCT_7X2,
        "CCT-7/7x2: two 7x7 convolutions of stride 2, each with a pool, as tokenizer (arXiv 2104.05704, table 1).",
    ),
    "cvt_7_4": Variant(
        CVT, "CVT-7/4: ViT-Lite with sequence pooling instead of a class token (arXiv 2104.05704, table 1)."
    ),
    "densenet121": Variant(
        TorchvisionConfig(name="densenet121"),
        "DenseNet-121, its stem by the size of the images (arXiv 1608.06993, table 1; torchvision's).",
    ),
    "dhvt_style_tiny": Variant(
        ViTConfig(embed_dim=192, num_heads=4, tokenizer=DHVT_STEM, position="none", feedforward="conv"),
        "After DHVT-T/4: conv tokenizer, convolutional feed-forward, no positions; no head tokens (arXiv 2210.05958).",
    ),
    "efficientnet_b0": Variant(
        TorchvisionConfig(name="efficientnet_b0"),
        "EfficientNet-B0, its stem by the size of the images (arXiv 1905.11946, table 1; torchvision's).",
    ),
    "hybrid_resnet18_tiny": Variant(
        hybrid(VIT_TINY, ResNetConfig(depths=(2, 2, 2), stem="small")),
        "Three stages of a small-image ResNet-18, stride 4, before ViT-Ti (after arXiv 2010.11929, §3.1).",
    ),
    "resnet18": Variant(
        RESNET18, "ResNet-18, its stem by the size of the images (arXiv 1512.03385, table 1 and §4.2)."
    ),
    "resnet18_attention": Variant(
        replace(RESNET18, attention_after=(3,)),
        "ResNet-18 with a self-attention block between its third and fourth stage (after arXiv 1711.07971, §4).",
    ),
    "resnet34": Variant(
        ResNetConfig(depths=(3, 4, 6, 3)),
        "ResNet-34, its stem by the size of the images (arXiv 1512.03385, table 1 and §4.2).",
    ),
    "resnet50": Variant(
        RESNET50, "ResNet-50, its stem by the size of the images (arXiv 1512.03385, table 1 and §4.2)."
    ),
    "vgg11": Variant(
        TorchvisionConfig(name="vgg11_bn"),
        "VGG-11's convolutions with batch norm (arXiv 1409.1556, table 1 A; torchvision's).",
    ),
    "vgg16": Variant(
        TorchvisionConfig(name="vgg16_bn"),
        "VGG-16's convolutions with batch norm (arXiv 1409.1556, table 1 D; torchvision's).",
    ),
    "vit_lite_7_4": Variant(
        VIT_LITE, "ViT-Lite-7/4, the small-image ViT of the CCT paper (arXiv 2104.05704, table 1)."
    ),
    "wide_resnet16_8": Variant(
        WideResNetConfig(depth=16, width_factor=8), "WRN-16-8, for small images (arXiv 1605.07146, table 5)."
    ),
    "wide_resnet28_10": Variant(
        WideResNetConfig(depth=28, width_factor=10), "WRN-28-10, for small images (arXiv 1605.07146, table 5)."
    ),
}

VARIANTS = dict(sorted((MODELS_FOR_224_PIXELS | MODELS_FOR_32_PIXELS).items()))


def usual_image_size(name: str) -> int:
    """Side of the images a named model is meant for, in pixels."""
    return 32 if name in MODELS_FOR_32_PIXELS else 224
