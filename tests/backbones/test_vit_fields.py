"""Every field of a vision transformer has its effect, or is refused in one line."""

import dataclasses
from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from hybridvit.backbones import ConvConfig, PatchConfig, ViTConfig
from hybridvit.layers import GPSA, LSA, MHSA, ConvFeedForward, RelativeBias, TalkingHeads
from hybridvit.layers.positions import sincos1d, sincos2d
from hybridvit.models import create_backbone

SIZE, GRID = (6, 10), (3, 5)
SMALL = ViTConfig(embed_dim=28, depth=3, num_heads=4, mlp_ratio=2.0, tokenizer=PatchConfig(patch_size=2))
LOCAL = replace(SMALL, attention=("gpsa",), pooling="mean")


def made(config, **fields):
    torch.manual_seed(0)
    return create_backbone(replace(config, **fields), image_size=SIZE, in_channels=2)


def seen(backbone):
    """Numbers that say what the backbone makes of two images: prefix and tokens of a training pass."""
    torch.manual_seed(1)
    features = backbone(torch.randn(2, 2, *SIZE))
    return torch.cat([features.prefix, features.tokens], dim=1).detach()


EFFECTS = [
    (SMALL, {"embed_dim": 32}),
    (SMALL, {"depth": 2}),
    (SMALL, {"num_heads": 7}),
    (SMALL, {"mlp_ratio": 1.5}),
    (SMALL, {"tokenizer": ConvConfig(channels=(4,), strides=(2,))}),
    (SMALL, {"position": "sincos1d"}),
    (SMALL, {"position_dim": 8}),
    (SMALL, {"attention": ("mhsa", "lsa", "mhsa")}),
    (SMALL, {"feedforward": "conv"}),
    (SMALL, {"pooling": "mean"}),
    (SMALL, {"class_token_layer": 1}),
    (replace(SMALL, pooling="class_attention"), {"class_attention_depth": 1}),
    (SMALL, {"distilled": True}),
    (SMALL, {"qk_norm": True}),
    (SMALL, {"qk_scale": 0.9}),
    (SMALL, {"layer_scale": 0.1}),
    (SMALL, {"mlp_residual": "normalised"}),
    (SMALL, {"norm_eps": 1e-2}),
    (SMALL, {"initialisation": "mimetic"}),
    (LOCAL, {"initialisation": "random"}),
    (LOCAL, {"locality_strength": 0.2}),
    (SMALL, {"drop_path": 0.5}),
    (SMALL, {"dropout": 0.5}),
]


@pytest.mark.parametrize(
    ("config", "fields"), EFFECTS, ids=lambda value: "-".join(value) if isinstance(value, dict) else ""
)
def test_every_field_changes_what_the_backbone_sees(config, fields):
    before, after = seen(made(config)), seen(made(config, **fields))
    assert before.shape != after.shape or not torch.allclose(before, after, atol=1e-3)
    assert torch.equal(before, seen(made(config)))  # nothing but the field


def test_the_biases_of_queries_keys_and_values_can_be_left_out():
    for config in (SMALL, replace(SMALL, pooling="class_attention"), LOCAL):
        with_bias, without = (made(config, qkv_bias=bias).state_dict() for bias in (True, False))
        gone = set(with_bias) - set(without)
        assert gone
        assert all(name.split(".")[-2:] in (["qkv", "bias"], ["q", "bias"], ["kv", "bias"]) for name in gone)
        assert len(gone) == 3 if config.pooling != "class_attention" else len(gone) == 3 + 2 * 2


def test_no_field_is_forgotten():
    covered = {name for _, fields in EFFECTS for name in fields} | {"kind", "qkv_bias"}
    assert {field.name for field in dataclasses.fields(ViTConfig)} == covered


@pytest.mark.parametrize("position", ["learned", "sincos1d", "sincos2d"])
def test_position_dim_channels_hold_the_position_and_nothing_else(position):
    backbone = made(SMALL, position=position, position_dim=8)
    images = torch.randn(2, 2, *SIZE)
    x, grid, _ = backbone.embed(images)
    table = {
        "learned": lambda: backbone.position.embedding,
        "sincos1d": lambda: sincos1d(8, 15, first=1),
        "sincos2d": lambda: sincos2d(8, GRID),
    }[position]()
    assert grid == GRID
    assert x.shape == (2, 15, 28)
    assert torch.equal(x[..., :20], backbone.tokenizer(images)[0])
    assert torch.equal(x[..., 20:], table.expand(2, -1, -1))


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({}, 1),
        ({"distilled": True}, 2),
        ({"class_token_layer": 1}, 0),
        ({"pooling": "mean"}, 0),
        ({"pooling": "seq"}, 0),
        ({"pooling": "class_attention"}, 0),
    ],
)
def test_1d_positions_count_the_prefix_tokens_that_stand_before(fields, first):
    backbone = made(SMALL, position="sincos1d", **fields)
    assert torch.equal(backbone.position.table(GRID), sincos1d(28, 15, first))


@pytest.mark.parametrize("depth", [1, 3])
def test_class_attention_updates_the_class_token_alone(depth, randomise):
    backbone = randomise(made(SMALL, pooling="class_attention", class_attention_depth=depth, norm_eps=1e-3)).double()
    assert len(backbone.class_blocks) == depth
    images = torch.randn(2, 2, *SIZE, dtype=torch.float64)
    x, _, _ = backbone.embed(images)
    for block in backbone.blocks:
        x = block(x, GRID)
    token = backbone.prefix.expand(2, 1, -1)
    for block in backbone.class_blocks:
        token = block(token, x)
    features = backbone(images)
    torch.testing.assert_close(features.tokens, backbone.norm(x))
    torch.testing.assert_close(features.prefix, backbone.norm(token))


def test_a_distilled_model_has_two_prefix_tokens_and_says_so():
    for layer in (0, 2):
        backbone = made(SMALL, distilled=True, class_token_layer=layer)
        assert (backbone.spec.prefix_tokens, backbone.spec.distilled) == (2, True)
        features = backbone(torch.randn(2, 2, *SIZE))
        assert features.prefix.shape == (2, 2, 28)
        assert not torch.allclose(features.prefix[:, 0], features.prefix[:, 1], atol=1e-3)
    assert (made(SMALL).spec.prefix_tokens, made(SMALL).spec.distilled) == (1, False)


def identity_share(attention):
    """Mean diagonal of W_v W_proj."""
    dim = attention.proj.in_features
    return (attention.proj.weight @ attention.qkv.weight[2 * dim :]).diagonal().mean().item()


def test_starts_reach_the_attention_they_are_meant_for():
    mixed = replace(SMALL, attention=("gpsa", "lsa", "talking_heads"), class_token_layer=1)
    gpsa, *others = [block.attention for block in made(mixed, initialisation="mimetic").blocks]
    assert torch.equal(gpsa.qkv.weight[56:], torch.eye(28))
    assert gpsa.position.abs().max() == 1
    assert all(identity_share(attention) == pytest.approx(-0.4, abs=0.1) for attention in others)
    default = [block.attention for block in made(mixed).blocks]
    assert all(abs(identity_share(attention)) < 0.1 for attention in default[1:])
    gpsa = made(mixed, initialisation="random").blocks[0].attention
    assert gpsa.position.abs().max() < 0.1
    assert not torch.equal(gpsa.qkv.weight[56:], torch.eye(28))
    assert made(mixed, locality_strength=0.25).blocks[0].attention.position.abs().max() == 0.25


def test_the_relative_bias_goes_to_every_attention_but_gpsa():
    attention = ("gpsa", "mhsa", "lsa", "talking_heads")
    backbone = made(SMALL, depth=4, attention=attention, class_token_layer=2, position="relative")
    kinds = [type(block.attention) for block in backbone.blocks]
    assert kinds == [GPSA, MHSA, LSA, TalkingHeads]
    tables = [module for module in backbone.modules() if isinstance(module, RelativeBias)]
    assert tables == [block.attention.bias for block in backbone.blocks[1:]]
    assert all(table.grid == GRID and table.table.shape == (4, 5, 9) for table in tables)
    assert not any(isinstance(module, RelativeBias) for module in made(SMALL).modules())


def test_settings_of_layers_reach_all_of_them():
    fields = {"qk_norm": True, "qk_scale": 0.9, "layer_scale": 0.1, "norm_eps": 1e-3, "mlp_residual": "normalised"}
    mixed = {"attention": ("gpsa", "lsa", "talking_heads"), "pooling": "class_attention"}
    backbone = made(SMALL, **mixed, **fields, drop_path=0.4)
    for block in backbone.blocks:
        assert all(isinstance(norm, nn.LayerNorm) for norm in (block.attention.q_norm, block.attention.k_norm))
        assert (block.attention.scale, block.mlp_residual) == (0.9, "normalised")
    for block in (*backbone.blocks, *backbone.class_blocks):
        assert (block.norm1.eps, block.norm2.eps) == (1e-3, 1e-3)
        assert [factor.mean().item() for factor in (block.scale1, block.scale2)] == pytest.approx([0.1, 0.1])
    assert backbone.norm.eps == 1e-3
    rates = [block.drop_path.p if isinstance(block.drop_path, StochasticDepth) else 0 for block in backbone.blocks]
    assert rates == pytest.approx([0, 0.2, 0.4])


def test_convolutional_feedforward_has_a_path_for_prefix_tokens_where_there_are_some():
    for fields, wanted in (({"class_token_layer": 2}, [False, False, True]), ({"pooling": "seq"}, [False] * 3)):
        parts = [block.feedforward for block in made(SMALL, feedforward="conv", **fields).blocks]
        assert all(isinstance(part, ConvFeedForward) for part in parts)
        assert [part.prefix for part in parts] == wanted


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class_attention_depth": 0}, "class_attention_depth must be at least 1, given 0"),
        ({"class_attention_depth": 3}, "class_attention_depth 3 has no effect with pooling cls"),
        ({"norm_eps": 0.0}, "norm_eps must be above 0, given 0.0"),
        ({"qk_scale": -1.0}, "qk_scale must be above 0, given -1.0"),
        ({"layer_scale": 0.0}, "layer_scale must be above 0, given 0.0"),
        ({"drop_path": 0.1, "depth": 1}, "drop_path 0.1 has no effect with depth 1"),
        ({"position_dim": 28}, r"position_dim must lie in 0 .. 27, given 28"),
        ({"position_dim": -1}, r"position_dim must be at least 0, given -1"),
        ({"position_dim": 8, "position": "none"}, "position_dim 8 has no effect with position none"),
        ({"position_dim": 8, "position": "relative"}, "position_dim 8 has no effect with position relative"),
        ({"position_dim": 6, "position": "sincos2d"}, "sincos2d needs a position_dim divisible by 4, given 6"),
        ({"attention": ("gpsa",), "pooling": "mean", "position": "relative"}, "relative has no effect where every"),
        ({"attention": ("gpsa",), "pooling": "mean", "initialisation": "mimetic"}, "mimetic has no effect where every"),
        ({"initialisation": "random"}, "initialisation random has no effect without gpsa"),
        ({"distilled": True, "pooling": "mean"}, "a distillation token goes with pooling cls, given mean"),
        ({"distilled": True, "pooling": "class_attention"}, "goes with pooling cls, given class_attention"),
        ({"class_token_layer": 1, "pooling": "seq"}, "class_token_layer 1 has no effect with pooling seq"),
        ({"class_token_layer": 1, "pooling": "class_attention"}, "no effect with pooling class_attention"),
    ],
)
def test_what_would_have_no_effect_is_refused_in_one_line(fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        replace(SMALL, **fields)
    assert "\n" not in str(caught.value)
