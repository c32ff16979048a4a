"""The five-socket vision transformer: timm's models with the same weights, and its contract."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hybridvit.backbones import (
    ConvConfig,
    PatchConfig,
    ResNetConfig,
    StagesConfig,
    ViTConfig,
)
from hybridvit.backbones.features import Features, image_size_pair
from hybridvit.layers import GPSA
from hybridvit.models import create_backbone, create_model

SMALL = ViTConfig(embed_dim=28, depth=3, num_heads=4, mlp_ratio=2.0, tokenizer=PatchConfig(patch_size=2))
CONVIT = replace(SMALL, attention=("gpsa", "gpsa", "mhsa"), class_token_layer=2, qkv_bias=False)


NAMES = {  # timm's -> ours
    "patch_embed.": "tokenizer.",
    ".attn.": ".attention.",
    ".mlp.": ".feedforward.",
    ".pos_proj.weight": ".position",
    ".gating_param": ".gate",
}


def copied(theirs):
    """timm's state dict, for a classifier of ours."""
    state = {}
    for name, value in theirs.state_dict().items():
        for part, ours in NAMES.items():
            name = name.replace(part, ours)
        state["head.fc." + name[5:] if name.startswith("head.") else "backbone." + name] = value
    prefix, position = state.pop("backbone.cls_token")[0], state.pop("backbone.pos_embed")[0]
    if len(position) > theirs.patch_embed.num_patches:  # the class token's own, which ours adds once
        prefix, position = prefix + position[:1], position[1:]
    state["backbone.prefix"], state["backbone.position.embedding"] = prefix, position
    for name in [name for name in state if name.endswith(".qk.weight")]:
        layer = name.removesuffix("qk.weight")
        state[layer + "qkv.weight"] = torch.cat([state.pop(name), state.pop(layer + "v.weight")])
        del state[layer + "pos_proj.bias"]  # cancels in its softmax
    return state


@pytest.mark.parametrize("side", [12, 18])  # 36 tokens and 81: both attention kernels
def test_convit_equals_timm_with_the_same_weights(side, randomise):
    convit = pytest.importorskip("timm.models.convit")
    sizes = {"patch_size": 2, "embed_dim": 7, "depth": 3, "num_heads": 4, "mlp_ratio": 2.0, "num_classes": 5}
    theirs = randomise(convit.ConVit(img_size=side, local_up_to_layer=2, **sizes)).eval()
    ours = create_model(CONVIT, num_classes=5, image_size=side).eval()
    ours.load_state_dict(copied(theirs))
    images = torch.randn(2, 3, side, side)
    expected = theirs(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-4)


def test_vit_equals_timm_with_the_same_weights(randomise):
    vit = pytest.importorskip("timm.models.vision_transformer")
    sizes = {"patch_size": 2, "embed_dim": 28, "depth": 3, "num_heads": 4, "mlp_ratio": 2.0, "num_classes": 5}
    theirs = randomise(vit.VisionTransformer(img_size=(6, 20), **sizes)).eval()
    ours = create_model(SMALL, num_classes=5, image_size=(6, 20)).eval()
    ours.load_state_dict(copied(theirs))
    images = torch.randn(2, 3, 6, 20)
    expected = theirs(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(ours(images), expected, rtol=1e-5, atol=1e-4)


CONTRACTS = {
    "patches": (SMALL, (6, 10), (3, 5), 2),
    "mean": (replace(SMALL, pooling="mean", attention=("gpsa",)), (6, 10), (3, 5), 2),
    "late class token": (CONVIT, (10, 6), (5, 3), 2),
    "convolutions": (replace(SMALL, tokenizer=ConvConfig(channels=(4, 5), strides=(2, 2))), (11, 17), (3, 5), 4),
}


@pytest.mark.parametrize("name", CONTRACTS)
def test_features_are_as_declared(name):
    config, size, grid, stride = CONTRACTS[name]
    backbone = create_backbone(config, image_size=size, in_channels=2)
    prefix = 1 if config.pooling == "cls" else 0
    spec = backbone.spec
    assert (spec.embed_dim, spec.grid, spec.prefix_tokens, spec.pooling) == (28, grid, prefix, config.pooling)
    assert spec.map_channels == {stride: 28}
    features = backbone(torch.randn(2, 2, *size))
    assert isinstance(features, Features)
    assert features.tokens.shape == (2, grid[0] * grid[1], 28)
    assert features.prefix.shape == (2, prefix, 28)
    assert features.grid == grid
    assert features.maps[stride].shape == (2, 28, *grid)
    for row in range(grid[0]):
        for column in range(grid[1]):
            assert torch.equal(features.maps[stride][:, :, row, column], features.tokens[:, row * grid[1] + column])


SEQUENCES = {
    "class token": {"drop_path": 0.3, "dropout": 0.2},
    "late tokens": {"attention": ("gpsa", "lsa", "talking_heads"), "class_token_layer": 2, "distilled": True},
    "class attention": {"pooling": "class_attention", "position": "relative", "layer_scale": 0.1},
    "convolutions": {"pooling": "seq", "feedforward": "conv", "attention": ("lsa",), "position_dim": 8},
    "hybrid": {"tokenizer": StagesConfig(cnn=ResNetConfig(width=4, depths=(1, 1)))},
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_keeps_the_contract_of_all_backbones(name, check_contract):
    config = replace(SMALL, **SEQUENCES[name])
    check_contract(create_backbone(config, image_size=(6, 10), in_channels=2), (6, 10), images=3)


@pytest.mark.parametrize("name", SEQUENCES)
def test_intermediate_layers_are_what_the_blocks_give(name):
    """Seen by hooks on the blocks; prefix tokens are there from the block on before which they enter."""
    config = replace(SMALL, **SEQUENCES[name])
    backbone = create_backbone(config, image_size=(6, 10), in_channels=2).eval()
    seen = []
    for block in backbone.blocks:
        block.register_forward_hook(lambda _, args, out: seen.append(out))
    images = torch.randn(2, 2, 6, 10)
    layers = backbone.get_intermediate_layers(images, [0, -1], return_prefix_tokens=True, norm=False)
    normed = backbone.get_intermediate_layers(images, 2, reshape=True)
    assert len(seen) == 2 * 3
    first = {"late tokens": 0, "class attention": 0, "convolutions": 0}.get(name, 1)
    last = {"late tokens": 2, "class attention": 0, "convolutions": 0}.get(name, 1)
    for (tokens, prefix), out, p in zip(layers, (seen[0], seen[2]), (first, last), strict=True):
        assert prefix.shape == (2, p, 28)
        assert torch.equal(torch.cat([prefix, tokens], dim=1), out)
    for maps, out in zip(normed, seen[4:], strict=True):
        assert maps.shape == (2, 28, 3, 5)
        assert torch.equal(maps.flatten(2).transpose(1, 2), backbone.norm(out)[:, out.shape[1] - 15 :])
    with pytest.raises(ValueError, match=r"has layers 0 .. 2, asked for \[3\]"):
        backbone.get_intermediate_layers(images, [3])
    with pytest.raises(ValueError, match=r"has layers 0 .. 2, asked for 0"):
        backbone.get_intermediate_layers(images, 0)


@pytest.mark.parametrize("position", ["learned", "sincos1d", "sincos2d", "none"])
def test_another_image_size_than_the_one_it_is_built_for(position):
    backbone = create_backbone(replace(CONVIT, position=position), image_size=(6, 10))
    features = backbone(torch.randn(2, 3, 8, 14))
    assert features.grid == (4, 7)
    assert features.tokens.shape == (2, 28, 28)


def test_class_token_enters_where_it_is_told():
    lengths = []
    backbone = create_backbone(CONVIT, image_size=(6, 10))
    for block in backbone.blocks:
        block.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    backbone(torch.randn(2, 3, 6, 10))
    assert lengths == [15, 15, 16]
    assert [isinstance(block.attention, GPSA) for block in backbone.blocks] == [True, True, False]


def test_features_are_normalised_by_the_last_layer_norm():
    features = create_backbone(SMALL, image_size=(6, 10))(torch.randn(2, 3, 6, 10))
    everything = torch.cat([features.prefix, features.tokens], dim=1)
    torch.testing.assert_close(everything.mean(-1), torch.zeros(2, 16), rtol=0, atol=1e-5)
    torch.testing.assert_close(everything.var(-1, correction=0), torch.ones(2, 16), rtol=0, atol=1e-3)


def test_without_position_a_plain_transformer_is_blind_to_order():
    """...and with one it is not: shuffled patches give shuffled tokens only without position."""
    order = torch.randperm(15)
    for position, same in (("none", True), ("learned", False), ("sincos1d", False), ("sincos2d", False)):
        backbone = create_backbone(replace(SMALL, position=position), image_size=(6, 10)).eval()
        patches = torch.randn(1, 3, 15, 2, 2)

        def image(patches):
            return patches.unflatten(2, (3, 5)).permute(0, 1, 2, 4, 3, 5).reshape(1, 3, 6, 10)

        with torch.no_grad():
            tokens = backbone(image(patches)).tokens[:, order]
            shuffled = backbone(image(patches[:, :, order])).tokens
        assert torch.allclose(tokens, shuffled, atol=1e-4) == same


def test_dropout_and_drop_path_only_while_training():
    backbone = create_backbone(replace(SMALL, dropout=0.3, drop_path=0.3), image_size=(6, 10))
    images = torch.randn(2, 3, 6, 10)
    assert not torch.equal(backbone(images).tokens, backbone(images).tokens)
    backbone.eval()
    assert torch.equal(backbone(images).tokens, backbone(images).tokens)
    assert [m.p for m in backbone.modules() if isinstance(m, nn.Dropout)] == [0.3] * 4


@pytest.mark.parametrize("shape", [(3, 6, 10), (2, 1, 6, 10), (2, 4, 6, 10), (2, 6, 10, 3)])
def test_images_of_another_shape_are_refused(shape):
    backbone = create_backbone(SMALL, image_size=(6, 10))
    with pytest.raises(ValueError, match=r"expected images \[b, 3, h, w\], given \[" + ", ".join(map(str, shape))):
        backbone(torch.randn(shape))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"embed_dim": 30}, "embed_dim 30 is not divisible by num_heads 4"),
        ({"depth": 0}, "depth must be at least 1, given 0"),
        ({"num_heads": 0}, "num_heads must be at least 1, given 0"),
        ({"embed_dim": -4}, "embed_dim must be at least 1, given -4"),
        ({"embed_dim": 30, "num_heads": 3, "position": "sincos2d"}, "divisible by 4, given 30"),
        ({"attention": ("mhsa", "gpsa")}, "each of the 3 blocks .* given 2"),
        ({"attention": ()}, "each of the 3 blocks .* given 0"),
        ({"drop_path": 1.0}, "drop_path must be below 1, given 1"),
        ({"dropout": -0.1}, "dropout must be at least 0, given -0.1"),
        ({"class_token_layer": 3}, "class_token_layer must lie in 0 .. 2, given 3"),
        ({"class_token_layer": -1}, "class_token_layer must be at least 0, given -1"),
        ({"class_token_layer": 1, "pooling": "mean"}, "class_token_layer 1 has no effect with pooling mean"),
        ({"attention": ("gpsa",), "pooling": "mean", "num_heads": 7}, "perfect square: given 7"),
        (
            {"attention": ("gpsa",)},
            "must enter after the last block of gpsa or psa: given .* block 2 is gpsa",
        ),
        ({"attention": ("mhsa", "gpsa", "mhsa"), "class_token_layer": 1}, "block 1 is gpsa"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **fields)


def test_image_size_is_one_side_or_both():
    assert image_size_pair(32) == (32, 32)
    assert image_size_pair((3, 5)) == (3, 5)
    for size in (0, (3, 0), (-1, 5)):
        with pytest.raises(ValueError, match="image_size must be positive"):
            image_size_pair(size)
