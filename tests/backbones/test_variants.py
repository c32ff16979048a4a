"""Every named model, and every combination of sockets: sizes as published, any image, one training step."""

import re
from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from hybridvit import backbones
from hybridvit.backbones import ConvConfig, PatchConfig, ResNetConfig, StagesConfig, ViTConfig, WideResNetConfig
from hybridvit.backbones.std_resnet import StdResNetConfig
from hybridvit.backbones.variants import VARIANTS
from hybridvit.models import cost, create_backbone, create_model

# timm's name, and how many parameters fewer ours has, for a stated reason: prefix tokens that enter at the first
# block have no position vectors of their own (one or two embed_dim); GPSA has no bias on the position scores and
# talking heads none before the softmax, which cancel in it (num_heads for each layer).
TIMM = {
    "vit_tiny_16": ("vit_tiny_patch16_224", 192),
    "vit_small_16": ("vit_small_patch16_224", 384),
    "vit_base_16": ("vit_base_patch16_224", 768),
    "deit_tiny_distilled": ("deit_tiny_distilled_patch16_224", 2 * 192),
    "deit_small_distilled": ("deit_small_distilled_patch16_224", 2 * 384),
    "deit_base_distilled": ("deit_base_distilled_patch16_224", 2 * 768),
    "cait_xxs24": ("cait_xxs24_224", 24 * 4),
    "cait_s24": ("cait_s24_224", 24 * 8),
    "convit_tiny": ("convit_tiny", 10 * 4),
    "convit_small": ("convit_small", 10 * 9),
    "convit_base": ("convit_base", 10 * 16),
    "hybrid_r_tiny": ("vit_tiny_r_s16_p8_224", 192),
    "hybrid_r26_small": ("vit_small_r26_s32_224", 384),
    "hybrid_r50_base": ("vit_base_r50_s16_224", 768),
}


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", TIMM)
def test_number_of_parameters_is_timms(name):
    timm = pytest.importorskip("timm")
    theirs, fewer = TIMM[name]
    with torch.device("meta"):
        assert count(create_model(name)) == count(timm.create_model(theirs, num_classes=1000)) - fewer


# name: (changed fields, classes, pixels, published millions of parameters, published G multiply-adds); equal to the
# last published digit once what the authors count differently is added (beyond_ours).
# At most 1 % more multiply-adds are published than ours, which are matrix products and convolutions; how theirs were
# counted is not published.
UNEXPLAINED = {
    "cait_s24": 0.03e9,
    "cct_14_7x2": 0.004e9,
    "cct_7_3x1": 0.005e9,
    "convit_small": 0.014e9,
    "convit_small_plus": 0.042e9,
    "t2t_vit_24": 0.09e9,
}
PUBLISHED = {
    "deit_tiny": ({}, 1000, 224, "5.7", "1.3"),
    "deit_small": ({}, 1000, 224, "22", "4.6"),
    "deit_base": ({}, 1000, 224, "87", "17.6"),  # 86 in the paper, which cuts 86.57 off
    "cait_xxs24": ({}, 1000, 224, "12.0", "2.5"),
    "cait_xs24": ({}, 1000, 224, "26.6", "5.4"),
    "cait_s24": ({}, 1000, 224, "46.9", "9.4"),
    "t2t_vit_7": ({}, 1000, 224, "4.3", "1.1"),
    "t2t_vit_14": ({}, 1000, 224, "21.5", "4.8"),
    "t2t_vit_19": ({}, 1000, 224, "39.2", "8.5"),
    "t2t_vit_24": ({}, 1000, 224, "64.1", "13.8"),
    "convit_tiny": ({}, 1000, 224, "6", "1"),
    "convit_small": ({}, 1000, 224, "27", "5.4"),
    "convit_base": ({}, 1000, 224, "86", "17"),
    "convit_tiny_plus": ({}, 1000, 224, "10", "2"),
    "convit_small_plus": ({}, 1000, 224, "48", "10"),
    "convit_base_plus": ({}, 1000, 224, "152", "30"),
    "cct_7_3x1": ({}, 10, 32, "3.76", "1.19"),
    "cct_14_7x2": ({}, 1000, 224, "22.37", "5.53"),  # 22.36 in the paper, which cuts 22.367 off
    "cvt_7_4": ({}, 10, 32, "3.72", None),
    "vit_lite_7_4": ({}, 10, 32, "3.72", None),
    "early_conv_vit_tiny": ({}, 1000, 224, "4.6", "1.1"),
    "early_conv_vit_small": ({}, 1000, 224, "17.8", "4.0"),
    "wide_resnet16_8": ({}, 10, 32, "11.0", None),
    "wide_resnet28_10": ({}, 10, 32, "36.5", "5.2"),
    "resnet18": ({"stem": "imagenet"}, 1000, 224, "11.69", "1.8"),
    "resnet50": ({"stem": "imagenet"}, 1000, 224, "25.56", "4.1"),
    "densenet121": ({"stem": "imagenet"}, 1000, 224, "7.98", "2.8"),  # 2.9 where batch norm is counted, too
    "efficientnet_b0": ({"stem": "imagenet"}, 1000, 224, "5.29", "0.39"),
    "botnet50": ({"stem": "imagenet"}, 1000, 224, "20.9", None),  # 20.8 in the paper, which cuts 20.852 off
}


def beyond_ours(name, config, classes):
    """Parameters and multiply-adds that the authors count and ours leaves out; negative for the other way round."""
    params, multiply_adds = 0, UNEXPLAINED.get(name, 0)
    if name.startswith("t2t"):  # the fixed positions of 197 tokens, and the directions of two performers
        params = 197 * config.embed_dim + 2 * 32 * 64
    if name.startswith("convit"):  # without the classifier, and without the products q·k and weights·values
        params = -(config.embed_dim + 1) * classes
        products = 10 * (2 * 196 * 196 + 196 * (14 + 14)) + 2 * (2 * 197 * 197)
        multiply_adds -= products * config.embed_dim
    return params, multiply_adds


def check_rounds_to(value, digits, what):
    half = 0.5 * 10.0 ** -len(digits.partition(".")[2])
    assert abs(value - float(digits)) <= half, f"{what} {value:.4f}, published {digits}"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameters_and_multiply_adds(name):
    changes, classes, pixels, millions, billions = PUBLISHED[name]
    config = replace(VARIANTS[name].config, **changes)
    params, multiply_adds = cost(config, pixels, classes)
    more_params, more_multiply_adds = beyond_ours(name, config, classes)
    check_rounds_to((params + more_params) / 1e6, millions, "millions of parameters")
    if billions:
        check_rounds_to((multiply_adds + more_multiply_adds) / 1e9, billions, "billions of multiply-adds")


@pytest.mark.parametrize(("name", "heads"), [("convit_tiny", 4), ("convit_small", 9), ("convit_base", 16)])
def test_convit_plus_has_heads_of_64(name, heads):
    plain, plus = VARIANTS[name].config, VARIANTS[f"{name}_plus"].config
    assert (plain.embed_dim, plus.embed_dim) == (48 * heads, 64 * heads)
    assert replace(plus, embed_dim=plain.embed_dim) == plain
    assert plain.attention == ("gpsa",) * 10 + ("mhsa",) * 2
    assert plain.class_token_layer == 10


def test_variants_are_sorted_and_cite_a_paper():
    assert list(VARIANTS) == sorted(VARIANTS)
    for config, about in VARIANTS.values():
        assert re.search(r"arXiv \d{4}\.\d{4,5}", about)
        assert eval(repr(config), vars(backbones)) == config  # what is printed is code that builds it


def small(name):
    """The named model at its own heads and layer pattern, narrow, and images of a few tokens."""
    config = VARIANTS[name].config
    if isinstance(config, ViTConfig):
        tokenizer = config.tokenizer
        if isinstance(tokenizer, StagesConfig) and isinstance(tokenizer.cnn, StdResNetConfig):
            tokenizer = replace(tokenizer, cnn=replace(tokenizer.cnn, width=32))
        config = replace(config, embed_dim=min(config.embed_dim, 8 * config.num_heads), tokenizer=tokenizer)
        with torch.device("meta"):
            stride = create_backbone(config).stride
        return config, (2 * stride, 3 * stride)
    if isinstance(config, WideResNetConfig):
        return replace(config, width_factor=1), (8, 16)
    sizes = {"alexnet": (16, 32), "vgg11": (32, 64), "vgg16": (32, 32), "efficientnet_b0": (32, 16)}
    return config, sizes.get(name, (8, 16))


def check_takes_one_step(model, images):
    """One step downhill: every parameter has a finite gradient, moves, and the loss on the batch falls."""
    labels = torch.arange(len(images)) % 5

    def loss():
        torch.manual_seed(1)  # dropped are the same paths
        return F.cross_entropy(model(images), labels)

    before = loss()
    before.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"{name} has a gradient that is not finite"
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    assert norm > 0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 / norm * parameter.grad
    assert loss() < before


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_one_step(name):
    config, size = small(name)
    model = create_model(config, num_classes=5, image_size=size)
    check_takes_one_step(model, torch.randn(5, 3, *size))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_takes_any_image(name):
    """Shapes alone, at its own width: squares and rectangles, one channel and 13, and images it is not built for."""
    config = VARIANTS[name].config
    if isinstance(config, ViTConfig):  # every kind of block once
        mixed = {"attention": ("gpsa", "mhsa"), "class_token_layer": 1} if len(config.attention) > 1 else {}
        config = replace(config, depth=2, **mixed)
    cases = (((32, 32), 3, [(64, 64), (224, 224)]), ((64, 96), 1, []), ((224, 160), 13, []))
    for size, channels, others in cases:
        with torch.device("meta"):
            model = create_model(config, 5, size, in_channels=channels).eval()
            features = model.forward_features(torch.empty(2, channels, *size))
            logits = [model(torch.empty(2, channels, *other)) for other in others]
            logits.append(model.forward_head(features))
        assert all(result.shape == (2, 5) for result in logits)
        assert features.grid == model.backbone.spec.grid
        assert features.tokens.shape == (2, features.grid[0] * features.grid[1], model.backbone.spec.embed_dim)


SOCKETS = list(
    product(
        [PatchConfig(patch_size=2), ConvConfig(channels=(4, 5), strides=(2, 1))],
        ["learned", "sincos2d", "none"],
        [
            (("mhsa",), "cls", 0),
            (("mhsa",), "cls", 1),
            (("mhsa",), "mean", 0),
            (("gpsa",), "mean", 0),
            (("gpsa", "mhsa"), "cls", 1),
            (("gpsa", "mhsa"), "mean", 0),
            (("mhsa", "gpsa"), "mean", 0),
        ],
    )
)


@pytest.mark.parametrize(("tokenizer", "position", "attention"), SOCKETS)
def test_every_combination_of_sockets_trains_one_step(tokenizer, position, attention):
    kinds, pooling, layer = attention
    config = ViTConfig(
        embed_dim=28,
        depth=2,
        num_heads=4,
        mlp_ratio=1.5,
        tokenizer=tokenizer,
        position=position,
        attention=kinds,
        pooling=pooling,
        class_token_layer=layer,
        qkv_bias=pooling == "mean",
    )
    model = create_model(config, num_classes=5, image_size=(6, 10), in_channels=2)
    check_takes_one_step(model, torch.randn(5, 2, 6, 10))


@pytest.mark.parametrize("stem", ["small", "imagenet"])
@pytest.mark.parametrize(("block", "width"), [("basic", 6), ("bottleneck", 64)])
def test_every_kind_of_resnet_trains_one_step(stem, block, width):
    config = ResNetConfig(block=block, width=width, depths=(1, 2), stem=stem)
    model = create_model(config, num_classes=5, image_size=(16, 24), in_channels=2)
    check_takes_one_step(model, torch.randn(5, 2, 16, 24))
