"""Every named model, and every combination of sockets: parameter counts and one training step."""

import re
from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F

from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.backbones.variants import VARIANTS
from hybridvit.backbones.vit import ConvConfig, PatchConfig, ViTConfig
from hybridvit.build import create_model

# published size in millions, timm's name, and how many parameters fewer ours has, for a stated reason:
# ViT's class token has no position vector of its own (embed_dim); each of the ten GPSA layers has no
# bias on the position scores, which cancels in their softmax (num_heads).
PUBLISHED = {
    "vit_tiny_16": (5.72, "vit_tiny_patch16_224", 192),
    "vit_small_16": (22.05, "vit_small_patch16_224", 384),
    "vit_base_16": (86.57, "vit_base_patch16_224", 768),
    "convit_tiny": (5.71, "convit_tiny", 10 * 4),
    "convit_small": (27.78, "convit_small", 10 * 9),
    "convit_base": (86.54, "convit_base", 10 * 16),
}


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_number_of_parameters(name):
    millions, theirs, fewer = PUBLISHED[name]
    with torch.device("meta"):
        ours = count(create_model(name))
        assert round(ours / 1e6, 2) == millions
        timm = pytest.importorskip("timm")
        assert ours == count(timm.create_model(theirs)) - fewer


@pytest.mark.parametrize(("name", "heads"), [("convit_tiny", 4), ("convit_small", 9), ("convit_base", 16)])
def test_convit_plus_has_heads_of_64(name, heads):
    plain, plus = VARIANTS[name](), VARIANTS[f"{name}_plus"]()
    assert (plain.embed_dim, plus.embed_dim) == (48 * heads, 64 * heads)
    assert replace(plus, embed_dim=plain.embed_dim) == plain
    assert plain.attention == ("gpsa",) * 10 + ("mhsa",) * 2
    assert plain.class_token_layer == 10


def test_vit_lite_has_the_size_of_its_paper():
    with torch.device("meta"):  # 3.72 M, CIFAR-10 (arXiv 2104.05704, table 2)
        assert round(count(create_model("vit_lite_7_4", num_classes=10, image_size=32)) / 1e6, 2) == 3.72


def test_variants_are_named_after_their_functions_and_cite_a_paper():
    assert list(VARIANTS) == sorted(VARIANTS)
    for name, variant in VARIANTS.items():
        assert variant.__name__ == name
        assert re.search(r"arXiv \d{4}\.\d{5}|1512\.03385", variant.__doc__)
        assert variant() == variant()


def check_takes_one_step(model, images):
    """One step downhill: every parameter has a finite gradient, moves, and the loss on the batch falls."""
    labels = torch.arange(len(images)) % 5
    before = F.cross_entropy(model(images), labels)
    before.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"{name} has a gradient that is not finite"
    norm = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    assert norm > 0
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 / norm * parameter.grad
    assert F.cross_entropy(model(images), labels) < before


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_trains_one_step(name):
    """At its own depth, heads and layer pattern; wide transformers are narrowed to 8 a head."""
    config = VARIANTS[name]()
    size = (8, 16)
    if isinstance(config, ViTConfig):
        config = replace(config, embed_dim=min(config.embed_dim, 8 * config.num_heads))
        size = (2 * config.tokenizer.patch_size, 3 * config.tokenizer.patch_size)
    model = create_model(config, num_classes=5, image_size=size)
    check_takes_one_step(model, torch.randn(5, 3, *size))


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
