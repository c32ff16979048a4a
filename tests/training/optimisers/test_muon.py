"""Muon against torch's own, and as one optimiser among others: groups, schedule, state and resuming."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from hybridvit.backbones import ConvConfig, PatchConfig, ResNetConfig, ViTConfig, WideResNetConfig
from hybridvit.config import to_yaml
from hybridvit.models import create_backbone, create_model
from hybridvit.runs.run import Run
from hybridvit.training.accelerator import make_accelerator
from hybridvit.training.checkpoint import load_optimiser, optimiser_tensors, read_tensors, save_checkpoint
from hybridvit.training.optimisers import muon
from hybridvit.training.optimisers.kinds import AdamWConfig, SGDConfig
from hybridvit.training.optimisers.muon import Muon, MuonConfig, hidden_matrices, orthogonalised
from hybridvit.training.run_folder import RunFolder

SHAPES = [(7, 13), (13, 7), (7, 13), (11, 11), (1, 5)]


def newton_schulz_by_singular_values(matrix):
    """The same polynomial on the singular values alone, in float64."""
    u, s, v = torch.linalg.svd(matrix.double(), full_matrices=False)
    s = s / s.square().sum().sqrt()
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u * s @ v, s


@pytest.mark.parametrize(
    "shapes",
    [[(7, 13)] * 3, [(13, 7), (7, 13), (7, 7), (7, 211), (11, 7)], [(11, 11), (5, 1), (1, 5), (1, 1), (11, 13)]],
)
def test_matrices_are_orthogonalised(shapes):
    matrices = [torch.randn(*shape) * 100 for shape in shapes]
    found = orthogonalised(matrices)
    for matrix, result in zip(matrices, found, strict=True):
        assert result.shape == matrix.shape
        assert result.dtype == torch.float32
        expected, values = newton_schulz_by_singular_values(matrix)
        torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-4)
        assert values.max() < 1.21


def test_well_conditioned_matrices_come_near_the_polar_factor():
    matrices = torch.randn(2, 31, 211)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    polar = u @ v
    error = (torch.stack(orthogonalised(list(matrices))) - polar).norm() / polar.norm()
    assert error < 0.25  # singular values of 0.7 .. 1.2
    assert orthogonalised([torch.zeros(3, 5)])[0].abs().max() == 0


def test_rounds_on_grams_are_rounds():
    """Also where singular values span five orders, and are lost in the rounding of the product."""
    matrices = [torch.randn(31, 53), torch.randn(31, 31), torch.randn(31, 3) @ torch.randn(3, 37)]
    matrices.append(torch.logspace(0, -5, 31)[:, None] * torch.linalg.qr(torch.randn(41, 31))[0].T)
    for matrix, result in zip(matrices, muon._rounds_on_grams(matrices), strict=True):
        expected, _ = newton_schulz_by_singular_values(matrix)
        torch.testing.assert_close(result.double(), expected, rtol=0, atol=1e-3)


def test_rounds_in_bfloat16():
    matrices = [torch.randn(31, 211), torch.randn(31, 211)]
    for matrix, result in zip(matrices, muon._rounds(matrices), strict=True):
        expected, _ = newton_schulz_by_singular_values(matrix)
        assert result.dtype == torch.bfloat16
        assert (result - expected).norm() < 0.03 * expected.norm()


def parameters(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(*shape, generator=generator)) for shape in SHAPES]


def give_gradients(params, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in params:
        p.grad = torch.randn(*p.shape, generator=generator)


def test_it_computes_what_torchs_muon_does():
    """torch's iterates in bfloat16, which costs about a hundredth of an update."""
    ours, theirs, others = parameters(), parameters(), parameters(1)
    groups = [
        {"params": others, "lr": 0.1, "weight_decay": 0.3, "muon": False},
        {"params": ours[:2], "lr": 0.02, "weight_decay": 0.7, "muon": True},
        {"params": ours[2:], "lr": 0.03, "weight_decay": 0.0, "muon": True},
    ]
    optimiser = Muon(groups, (0.8, 0.95))
    reference = torch.optim.Muon(
        [
            {"params": theirs[:2], "lr": 0.02, "weight_decay": 0.7},
            {"params": theirs[2:], "lr": 0.03, "weight_decay": 0.0},
        ],
        momentum=muon.MOMENTUM,
        adjust_lr_fn="original",
    )
    expected = [copy.deepcopy(p) for p in others]
    adamw = torch.optim.AdamW(expected, lr=0.1, weight_decay=0.3, betas=(0.8, 0.95), fused=True)
    for seed in range(4):
        for params, step in ((ours, 1), (theirs, 1), (others, 2), (expected, 2)):
            give_gradients(params, 10 * seed + step)
        before = [p.detach().clone() for p in theirs]
        for either in (optimiser, reference, adamw):
            either.step()
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            moved = (other.detach() - before[index]).norm().item()
            assert (one - other).norm().item() < 0.03 * moved * (seed + 1), (seed, index)
    for p, q in zip(others, expected, strict=True):
        assert torch.equal(p, q)  # what is not Muon's is AdamW's to the bit


def test_a_step_by_hand():
    """The first buffer is (1 - m)·g and looks ahead to (1 - m²)·g, whose scale the iterations forget."""
    p = nn.Parameter(torch.randn(13, 7))
    other = nn.Parameter(torch.zeros(2))
    start = p.detach().clone()
    give_gradients([p, other], 3)
    expected = start * (1 - 0.5 * 0.1) - 0.5 * (13 / 7) ** 0.5 * orthogonalised([p.grad])[0]
    groups = [{"params": [p], "lr": 0.5, "weight_decay": 0.1, "muon": True}]
    groups.append({"params": [other], "lr": 0.1, "weight_decay": 0.0, "muon": False})
    Muon(groups, (0.9, 0.999)).step()
    torch.testing.assert_close(p.detach(), expected, rtol=0, atol=1e-5)


def test_a_kernel_is_a_matrix_of_its_flattened_filters():
    kernel = torch.randn(5, 3, 2, 3)
    gradient = torch.randn(5, 3, 2, 3)
    moved = []
    for shape in ((5, 3, 2, 3), (5, 18)):
        p, other = nn.Parameter(kernel.reshape(shape).clone()), nn.Parameter(torch.zeros(1))
        p.grad = gradient.reshape(shape).clone()
        groups = [{"params": [p], "lr": 0.5, "weight_decay": 0.1, "muon": True}]
        groups.append({"params": [other], "lr": 0.1, "weight_decay": 0.0, "muon": False})
        Muon(groups, (0.9, 0.999)).step()
        moved.append(p.detach().flatten())
    assert torch.equal(*moved)


def vit(tokenizer=None, **fields):
    fields = {"embed_dim": 8, "depth": 2, "num_heads": 2, "tokenizer": tokenizer or PatchConfig(patch_size=2), **fields}
    return ViTConfig(**fields)


def test_hidden_matrices_of_a_transformer():
    names = hidden_matrices(
        create_model(vit(ConvConfig(channels=(4,), strides=(2,)), feedforward="conv"), image_size=8)
    )
    parts = ("attention.qkv", "attention.proj", "feedforward.fc1", "feedforward.fc2")
    blocks = {f"backbone.blocks.{i}.{part}.weight" for i in (0, 1) for part in parts}
    stem = {"backbone.tokenizer.proj.weight"}  # but for the convolution that reads the images
    assert blocks | stem <= names
    rest = names - blocks - stem
    assert all(".feedforward.squeeze." in name or ".feedforward.excite." in name for name in rest), rest


def test_hidden_matrices_of_cnns():
    resnet = create_model(ResNetConfig(depths=(1, 1), width=8, attention_after=(2,), num_heads=2), image_size=8)
    found = hidden_matrices(resnet)
    assert {"backbone.layer1.0.conv1.weight", "backbone.layer2.0.downsample.0.weight"} <= found
    assert any(name.startswith("backbone.attention2.") for name in found)
    assert not [name for name in found if name.startswith(("backbone.conv1", "head")) or "bn" in name]
    wide = create_backbone(WideResNetConfig(depth=10, width_factor=1), image_size=8)
    assert "conv.weight" not in hidden_matrices(wide)
    assert len(hidden_matrices(wide)) == 6 + 2  # two for each of three blocks, and two shortcuts
    with pytest.raises(ValueError, match="kind 'muon' needs a backbone, given Linear"):
        hidden_matrices(nn.Linear(2, 3))
    resnet.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match="kind 'muon' finds no trained matrix behind the first of ResNet"):
        hidden_matrices(resnet)


def test_every_group_has_its_own_rate():
    config = MuonConfig(lr=0.004, muon_lr=0.05, weight_decay=0.3, layer_decay=0.5, warmup=0.5)
    model = create_model(vit(), num_classes=3, image_size=8)
    optimiser = config.build(model)
    assert isinstance(optimiser, Muon)
    found = {id(p): group for group in optimiser.param_groups for p in group["params"]}
    assert len(found) == len(list(model.parameters()))
    matrices = hidden_matrices(model)
    schedule = config.build_schedule(optimiser, 6)
    for name, p in model.named_parameters():
        group = found[id(p)]
        assert group["muon"] == (name in matrices)
        peak = (0.05 if name in matrices else 0.004) * group["lr_scale"]
        assert group["lr"] == pytest.approx(peak / 4)  # the first of the three steps of warm-up
        assert group["weight_decay"] == (0.3 if p.ndim >= 2 and "position" not in name and "prefix" not in name else 0)
    assert found[id(model.backbone.blocks[1].attention.qkv.weight)]["lr_scale"] == 1 / 4
    optimiser.step()
    schedule.step()
    assert max(group["lr"] for group in optimiser.param_groups if group["muon"]) == pytest.approx(0.05 / 4 * 2 / 4)


CONFIGS = {
    "adamw": AdamWConfig(lr=0.01, layer_decay=0.8, beta1=0.85),
    "muon": MuonConfig(lr=0.01, layer_decay=0.8, beta1=0.85),
    "sgd": SGDConfig(lr=0.01, layer_decay=0.8, momentum=0.85),
}


def training(kind, weights=None, tensors=None, done=0):
    """A tiny model in training, from the start or from what was saved after some steps."""
    torch.manual_seed(5)
    model = create_model(vit(), num_classes=3, image_size=8)
    if weights is not None:
        model.load_state_dict(weights)
    config = CONFIGS[kind]
    optimiser = config.build(model)
    schedule = config.build_schedule(optimiser, 9)
    model, optimiser = make_accelerator("fp32", cpu=True).prepare(model, optimiser)
    if tensors is not None:
        load_optimiser(optimiser, tensors)
        schedule = config.build_schedule(optimiser, 9, done)
    losses = []

    def step(number):
        generator = torch.Generator().manual_seed(number)
        images = torch.randn(5, 3, 8, 8, generator=generator)
        loss = nn.functional.cross_entropy(model(images), torch.randint(3, (5,), generator=generator))
        loss.backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())

    return model, optimiser, step, losses


@pytest.mark.parametrize("kind", CONFIGS)
def test_training_goes_on_to_the_bit_from_a_checkpoint(kind, tmp_path):
    model, optimiser, step, losses = training(kind)
    for number in range(4):
        step(number)
    save_checkpoint(tmp_path / "step", {"step": 4}, model.state_dict(), optimiser_tensors(optimiser))
    held = {key.split(".")[2] for key in optimiser_tensors(optimiser)}
    adamw = {"step", "exp_avg", "exp_avg_sq"}
    assert held == {"adamw": adamw, "muon": adamw | {"momentum_buffer"}, "sgd": {"momentum_buffer"}}[kind]
    saved = read_tensors(tmp_path / "step", "training.safetensors")
    again, second, step_again, others = training(kind, read_tensors(tmp_path / "step"), saved, 4)
    for number in range(4, 9):
        step(number)
        step_again(number)
    assert others == losses[4:]
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    for key, value in optimiser_tensors(optimiser).items():
        assert torch.equal(value, optimiser_tensors(second)[key]), key
    assert [group["lr"] for group in second.param_groups] == [group["lr"] for group in optimiser.param_groups]


def test_both_parts_learn_and_share_one_state():
    model, optimiser, step, losses = training("muon")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(9):
        step(0)
    assert losses[-1] < 0.85 * losses[0]
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())
    inner = optimiser.optimizer
    assert inner.adamw.state is inner.state
    assert all(any(group is other for other in inner.param_groups) for group in inner.adamw.param_groups)


def test_a_parameter_without_a_gradient_stays_as_it_is():
    model = create_model(vit(), num_classes=3, image_size=8)
    optimiser = MuonConfig().build(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    qkv = model.backbone.blocks[1].attention.qkv.weight
    qkv.grad = torch.randn_like(qkv)
    optimiser.step()
    changed = [name for name, p in model.named_parameters() if not torch.equal(p, before[name])]
    assert changed == ["backbone.blocks.1.attention.qkv.weight"]


def test_a_run_with_muon_resumes(tiny_recipe, tmp_path):
    recipe = replace(tiny_recipe(steps=5, evaluate_every=2), optim=MuonConfig(schedule="linear"))

    def stop(progress):
        if progress.step == 3:
            raise KeyboardInterrupt

    def result(folder, on_step=None):
        run = Run(recipe, RunFolder(tmp_path / folder, to_yaml(recipe)), cpu=True)
        return {key: value for key, value in run.fit(on_step).items() if key != "seconds"}

    expected = result("straight")
    with pytest.raises(KeyboardInterrupt):
        result("stopped", stop)
    assert result("stopped") == expected
