"""Schedule and fields that all optimisers share, worked out by hand."""

import math
import typing

import pytest
from torch import nn

from hybridvit.backbones import ConvConfig, PatchConfig, ResNetConfig, ViTConfig
from hybridvit.models import create_model
from hybridvit.training.optimisers.base import DECAYS, OptimiserConfig, parameter_groups
from hybridvit.training.optimisers.kinds import AdamWConfig, SGDConfig
from hybridvit.training.optimisers.muon import MuonConfig


def test_every_group_follows_the_schedule_at_its_own_scale():
    config = AdamWConfig(lr=0.02, warmup=0.0, final_lr=0.0, layer_decay=0.5)
    vit = ViTConfig(embed_dim=8, depth=1, num_heads=2, tokenizer=PatchConfig(patch_size=2))
    optimiser = config.build(create_model(vit, num_classes=3, image_size=8))
    scales = [group["lr_scale"] for group in optimiser.param_groups]
    assert {1, 1 / 2, 1 / 4, 1 / 8} == set(scales)
    schedule = config.build_schedule(optimiser, 5)
    for share in (1, 0.5 + 0.25 * math.sqrt(2), 0.5):
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.02 * share * s for s in scales])
        optimiser.step()
        schedule.step()


@pytest.mark.parametrize(
    ("steps", "warmup", "final", "expected"),
    [
        # two steps of warm-up, then a cosine over the seven steps from 2 to 9
        (10, 0.2, 0.1, [1 / 3, 2 / 3] + [0.1 + 0.45 * (1 + math.cos(math.pi * k / 7)) for k in range(8)]),
        (5, 0.0, 0.0, [1, 0.5 + 0.25 * math.sqrt(2), 0.5, 0.5 - 0.25 * math.sqrt(2), 0]),
        (3, 0.0, 1.0, [1, 1, 1]),
        (4, 0.5, 0.2, [1 / 3, 2 / 3, 1, 0.2]),
        (1, 0.0, 0.3, [1]),
    ],
)
def test_schedule_by_hand(steps, warmup, final, expected):
    config = AdamWConfig(lr=0.02, warmup=warmup, final_lr=final)
    assert [config.lr_share(step, steps) for step in range(steps)] == pytest.approx(expected)
    optimiser = config.build(nn.Linear(2, 3))
    schedule = config.build_schedule(optimiser, steps)
    used = []
    for _ in range(steps):
        used.append([group["lr"] for group in optimiser.param_groups])
        optimiser.step()
        schedule.step()
    assert used == [pytest.approx([0.02 * share] * 2) for share in expected]


@pytest.mark.parametrize(
    ("schedule", "fields", "expected"),
    [
        ("linear", {"final_lr": 0.2}, [1 / 3, 2 / 3, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]),
        ("linear", {"final_lr": 0.0}, [1 / 3, 2 / 3, *(1 - k / 8 for k in range(9))]),
        ("constant", {}, [1 / 3, 2 / 3, *[1] * 9]),
    ],
)
def test_other_schedules_by_hand(schedule, fields, expected):
    config = AdamWConfig(schedule=schedule, warmup=2 / 11, **fields)
    assert [config.lr_share(step, 11) for step in range(11)] == pytest.approx(expected)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.37, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_schedule_rises_then_falls_and_ends_at_final_lr(steps, warmup):
    config = AdamWConfig(warmup=warmup, final_lr=0.05)
    shares = [config.lr_share(step, steps) for step in range(steps + 1)]
    top = shares.index(max(shares))
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert all(0 < share <= 1 for share in shares)
    assert top <= math.ceil(warmup * steps)
    if steps > 2 and warmup < 0.5:
        assert shares[steps - 1] == pytest.approx(0.05)
        assert max(shares) > 0.95


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lr": 0.0}, "lr must be above 0, given 0.0"),
        ({"lr": -1.0}, "lr must be above 0, given -1.0"),
        ({"lr": math.inf}, "lr must be a finite number, given inf"),
        ({"lr": math.nan}, "lr must be a finite number, given nan"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0, given -0.1"),
        ({"warmup": 1.0}, "warmup must be below 1, given 1.0"),
        ({"final_lr": 1.5}, "final_lr must be at most 1, given 1.5"),
        ({"layer_decay": 0.0}, "layer_decay must be above 0, given 0.0"),
        ({"layer_decay": 1.5}, "layer_decay must be at most 1, given 1.5"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0, given 0.0"),
        ({"schedule": "step"}, "schedule must be cosine, linear or constant, given 'step'"),
        ({"schedule": "constant", "final_lr": 0.1}, "final_lr 0.1 has no effect with schedule 'constant'"),
    ],
)
@pytest.mark.parametrize("config", [AdamWConfig, MuonConfig, SGDConfig])
def test_settings_that_make_no_sense_are_refused(config, fields, message):
    with pytest.raises(ValueError, match=message):
        config(**fields)


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (AdamWConfig, {"beta1": 1.0}, "beta1 must be below 1, given 1.0"),
        (AdamWConfig, {"beta2": -0.1}, "beta2 must be at least 0, given -0.1"),
        (MuonConfig, {"muon_lr": 0.0}, "muon_lr must be above 0, given 0.0"),
        (AdamWConfig, {"muon_lr": 0.1}, "unknown field muon_lr: "),
        (SGDConfig, {"muon_lr": 0.1}, "unknown field muon_lr: "),
        (SGDConfig, {"beta2": 0.9}, "unknown field beta2: "),
        (SGDConfig, {"beta1": 0.9}, "unknown field beta1: it is now called momentum"),
        (SGDConfig, {"momentum": 1.0}, "momentum must be below 1, given 1.0"),
    ],
)
def test_every_optimiser_has_its_own_fields(config, fields, message):
    with pytest.raises(ValueError, match=message):
        config(**fields)


def test_every_schedule_has_a_decay():
    assert set(DECAYS) == set(typing.get_args(typing.get_type_hints(OptimiserConfig)["schedule"]))


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            AdamWConfig(beta2=0.95),
            "AdamW, betas 0.9 and 0.95, weight decay 0.05, warm-up over 10% of the steps, cosine decay, "
            "gradient norm at most 1",
        ),
        (
            MuonConfig(schedule="constant", clip_norm=None),
            "Muon at 0.02 for matrices and kernels, AdamW for the rest, weight decay 0.05, warm-up over 10% of the "
            "steps, no decay",
        ),
        (
            SGDConfig(schedule="linear", warmup=0.0),
            "SGD with Nesterov momentum 0.9, weight decay 0.05, warm-up over 0% of the steps, linear decay, "
            "gradient norm at most 1",
        ),
    ],
)
def test_reports_describe_every_optimiser(config, text):
    assert config.describe() == text


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
