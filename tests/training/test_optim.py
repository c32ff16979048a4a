"""Parameter groups and the schedule, worked out by hand."""

import math

import pytest
import torch
from torch import nn

from hybridvit.backbones import ConvConfig, PatchConfig, ResNetConfig, ViTConfig
from hybridvit.models import create_model
from hybridvit.training.optim import OptimConfig, build_optimiser, build_schedule, lr_share, parameter_groups


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


def test_every_group_follows_the_schedule_at_its_own_scale():
    config = OptimConfig(lr=0.02, warmup=0.0, final_lr=0.0, layer_decay=0.5)
    vit = ViTConfig(embed_dim=8, depth=1, num_heads=2, tokenizer=PatchConfig(patch_size=2))
    optimiser = build_optimiser(create_model(vit, num_classes=3, image_size=8), config)
    scales = [group["lr_scale"] for group in optimiser.param_groups]
    assert {1, 1 / 2, 1 / 4, 1 / 8} == set(scales)
    schedule = build_schedule(optimiser, 5, config)
    for share in (1, 0.5 + 0.25 * math.sqrt(2), 0.5):
        assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.02 * share * s for s in scales])
        optimiser.step()
        schedule.step()


def test_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    assert [len(group["params"]) for group in parameter_groups(model, 0.1)] == [1, 1]


def test_adamw_gets_the_settings():
    config = OptimConfig(lr=0.003, weight_decay=0.07, beta1=0.8, beta2=0.95)
    optimiser = build_optimiser(nn.Linear(2, 3), config)
    assert isinstance(optimiser, torch.optim.AdamW)
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.07, 0.0]
    for group in optimiser.param_groups:
        assert (group["lr"], group["betas"]) == (0.003, (0.8, 0.95))


def test_one_step_of_adamw_by_hand():
    layer = nn.Linear(1, 1)
    with torch.no_grad():
        layer.weight.fill_(2.0)
        layer.bias.fill_(3.0)
    optimiser = build_optimiser(layer, OptimConfig(lr=0.1, weight_decay=0.5))
    (5 * layer.weight + 7 * layer.bias).sum().backward()
    optimiser.step()  # the first step has length lr, after a decay of lr · weight_decay
    assert layer.weight.item() == pytest.approx(2 * (1 - 0.05) - 0.1, rel=1e-5)
    assert layer.bias.item() == pytest.approx(3 - 0.1, rel=1e-5)


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
    config = OptimConfig(lr=0.02, warmup=warmup, final_lr=final)
    assert [lr_share(step, steps, config) for step in range(steps)] == pytest.approx(expected)
    optimiser = build_optimiser(nn.Linear(2, 3), config)
    schedule = build_schedule(optimiser, steps, config)
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
    config = OptimConfig(schedule=schedule, warmup=2 / 11, **fields)
    assert [lr_share(step, 11, config) for step in range(11)] == pytest.approx(expected)


@pytest.mark.parametrize("beta1", [0.9, 0.0])
def test_sgd_is_torchs_with_nesterov_momentum(beta1):
    model, reference = nn.Linear(3, 5), nn.Linear(3, 5)
    reference.load_state_dict(model.state_dict())
    optimiser = build_optimiser(model, OptimConfig(kind="sgd", lr=0.1, beta1=beta1, weight_decay=0.3))
    velocity = {}
    for step in range(4):
        x = torch.randn(7, 3, generator=torch.Generator().manual_seed(step))
        for net in (model, reference):
            net.zero_grad()
            net(x).square().mean().backward()
        optimiser.step()
        with torch.no_grad():  # v = m·v + g, w = w - lr·(g + m·v), decay inside g
            for name, p in reference.named_parameters():
                g = p.grad + (0.3 * p if name == "weight" else 0)
                velocity[name] = beta1 * velocity[name] + g if name in velocity else g
                p -= 0.1 * (g + beta1 * velocity[name])
    for one, other in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.37, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_schedule_rises_then_falls_and_ends_at_final_lr(steps, warmup):
    config = OptimConfig(warmup=warmup, final_lr=0.05)
    shares = [lr_share(step, steps, config) for step in range(steps + 1)]
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
        ({"lr": 0.0}, "lr must be positive, given 0.0"),
        ({"lr": -1.0}, "lr must be positive"),
        ({"lr": math.inf}, "lr must be positive"),
        ({"lr": math.nan}, "lr must be positive"),
        ({"weight_decay": -0.1}, "weight_decay cannot be negative, given -0.1"),
        ({"beta1": 1.0}, r"beta1 must lie in \[0, 1\), given 1.0"),
        ({"beta2": -0.1}, r"beta2 must lie in \[0, 1\)"),
        ({"warmup": 1.0}, r"warmup must lie in \[0, 1\)"),
        ({"final_lr": 1.5}, r"final_lr is a share of lr in \[0, 1\], given 1.5"),
        ({"layer_decay": 0.0}, r"layer_decay must lie in \(0, 1\], given 0.0"),
        ({"layer_decay": 1.5}, r"layer_decay must lie in \(0, 1\], given 1.5"),
        ({"clip_norm": 0.0}, "clip_norm must be positive or None, given 0.0"),
        ({"kind": "adam"}, "kind must be one of adamw, muon, sgd, given 'adam'"),
        ({"schedule": "step"}, "schedule must be one of cosine, linear, constant, given 'step'"),
        ({"kind": "muon", "muon_lr": 0.0}, "muon_lr must be positive, given 0.0"),
        ({"muon_lr": 0.1}, "muon_lr 0.1 has no effect with kind 'adamw': set lr, or choose kind 'muon'"),
        ({"kind": "sgd", "muon_lr": 0.1}, "muon_lr 0.1 has no effect with kind 'sgd'"),
        ({"kind": "sgd", "beta2": 0.9}, "beta2 0.9 has no effect with kind 'sgd': its momentum is beta1"),
        ({"schedule": "constant", "final_lr": 0.1}, "final_lr 0.1 has no effect with schedule 'constant'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        OptimConfig(**fields)


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
