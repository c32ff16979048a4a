"""Which parameters decay, and at which share of the learning rate each layer learns."""

import pytest
from torch import nn

from hybridvit.backbones import ConvConfig, PatchConfig, ResNetConfig, ViTConfig
from hybridvit.models import create_model
from hybridvit.training.optimisers.base import parameter_groups


@pytest.mark.parametrize("tokenizer", [PatchConfig(patch_size=2), ConvConfig(channels=(4,), strides=(2,))])
def test_weights_decay_and_nothing_else_does(tokenizer):
    config = ViTConfig(
        embed_dim=8, depth=2, num_heads=4, attention=("gpsa", "mhsa"), class_token_layer=1, tokenizer=tokenizer
    )
    model = create_model(config, num_classes=3, image_size=8)
    names = {id(p): name for name, p in model.named_parameters()}
    decay, rest = parameter_groups(model, 0.05)
    assert (decay["weight_decay"], rest["weight_decay"]) == (0.05, 0.0)
    block = "backbone.blocks.{}."
    matrices = ["attention.qkv.weight", "attention.proj.weight", "feedforward.fc1.weight", "feedforward.fc2.weight"]
    wanted = {block.format(i) + name for i in (0, 1) for name in matrices}
    wanted |= {"head.fc.weight", "backbone.tokenizer.proj.weight"}
    if isinstance(tokenizer, ConvConfig):
        wanted.add("backbone.tokenizer.convs.0.weight")
    assert {names[id(p)] for p in decay["params"]} == wanted
    others = {names[id(p)] for p in rest["params"]}
    assert others == set(names.values()) - wanted
    assert {"backbone.prefix", "backbone.position.embedding", "backbone.norm.weight", "head.fc.bias"} <= others
    assert {block.format(0) + name for name in ("attention.position", "attention.gate", "norm1.weight")} <= others


def test_layers_nearer_to_the_images_learn_less():
    """Three blocks are five layers: tokens, blocks and the last norm; the head has the whole rate."""
    config = ViTConfig(embed_dim=8, depth=3, num_heads=2, tokenizer=PatchConfig(patch_size=2))
    model = create_model(config, num_classes=3, image_size=8)
    groups = parameter_groups(model, 0.05, layer_decay=0.5)
    found = {id(p): (group["lr_scale"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert len(found) == sum(len(group["params"]) for group in groups) == len(list(model.parameters()))
    share = {name: found[id(p)] for name, p in model.named_parameters()}
    assert share["backbone.tokenizer.proj.weight"] == (1 / 32, 0.05)
    assert share["backbone.prefix"] == share["backbone.position.embedding"] == (1 / 32, 0)
    for index, scale in enumerate((1 / 16, 1 / 8, 1 / 4)):
        assert share[f"backbone.blocks.{index}.attention.qkv.weight"] == (scale, 0.05)
        assert share[f"backbone.blocks.{index}.norm2.bias"] == (scale, 0)
    assert share["backbone.norm.weight"] == (1 / 2, 0)
    assert (share["head.fc.weight"], share["head.fc.bias"]) == ((1, 0.05), (1, 0))
    backbone_alone = parameter_groups(model.backbone, 0.05, layer_decay=0.5)
    assert {group["lr_scale"] for group in backbone_alone} == {1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2}
    with pytest.raises(ValueError, match="layer_decay needs a backbone, given Linear"):
        parameter_groups(nn.Linear(2, 3), 0.05, layer_decay=0.5)


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(model, 0.1)] == [1, 1]


def test_relative_positions_do_not_decay():
    model = create_model(
        ViTConfig(embed_dim=8, depth=1, num_heads=2, position="relative", attention=("lsa",)), image_size=32
    )
    names = {id(p): name for name, p in model.named_parameters()}
    _, rest = parameter_groups(model, 0.05)
    kept = {names[id(p)] for p in rest["params"]}
    assert {"backbone.blocks.0.attention.bias.table", "backbone.blocks.0.attention.temperature"} <= kept
    bottleneck = ResNetConfig(block="bottleneck", depths=(1, 1), attention_stages=(2,))
    model = create_model(bottleneck, image_size=8)
    names = {id(p): name for name, p in model.named_parameters()}
    _, rest = parameter_groups(model, 0.05)
    kept = {names[id(p)] for p in rest["params"]}
    distances = {name for name in names.values() if name.endswith("_distance")}
    assert len(distances) == 2
    assert distances <= kept
