"""The same on every device: layers, models, losses, augmentation, optimisers, whole runs.

``pytest tests/test_devices.py --gpu`` makes a GPU one of them.
"""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from hybridvit.backbones import (
    ConvPoolConfig,
    PatchConfig,
    ResNetConfig,
    ShiftedPatchConfig,
    StagesConfig,
    T2TConfig,
    ViTConfig,
    WideResNetConfig,
)
from hybridvit.config import to_yaml
from hybridvit.data.augment.policies import OPERATIONS, Drawn, apply, draw
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.loaders.progressive import ProgressiveConfig
from hybridvit.hydra.balance.kinds import (
    DWAConfig,
    FAMOConfig,
    GradNormConfig,
    PCGradConfig,
    SumConfig,
    UncertaintyConfig,
)
from hybridvit.layers import GPSA, LSA, MHSA, PSA, TalkingHeads
from hybridvit.layers.attention import merge_heads
from hybridvit.models import create_model
from hybridvit.recipe import Recipe
from hybridvit.runs.run import Run
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.muon import Muon, MuonConfig, orthogonalised
from hybridvit.training.run_folder import RunFolder

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]
H, D, SIDE = 4, 8, 7

on_every_device = pytest.mark.parametrize("device", DEVICES)


@pytest.fixture(autouse=True)
def _exact(monkeypatch):
    """A GPU's convolutions are rounded to 10 bits (TF32) unless told otherwise."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def as_timm(theirs, device):
    """Our GPSA with the weights of timm's."""
    ours = GPSA(H * D, H).to(device)
    with torch.no_grad():
        ours.qkv.weight.copy_(torch.cat([theirs.qk.weight, theirs.v.weight]))
        ours.proj.load_state_dict(theirs.proj.state_dict())
        ours.position.copy_(theirs.pos_proj.weight)
        ours.gate.copy_(theirs.gating_param)
    return ours


@on_every_device
def test_gpsa_is_timms_in_value_and_gradient(device, randomise):
    convit = pytest.importorskip("timm.models.convit")
    theirs = randomise(convit.GPSA(H * D, H)).to(device)
    ours = as_timm(theirs, device)
    x = torch.randn(3, SIDE**2, H * D, device=device)
    gradients = []
    with torch.no_grad():
        torch.testing.assert_close(ours(x, (SIDE, SIDE)), theirs(x), rtol=0, atol=1e-4)
    for layer, arguments in ((ours, ((SIDE, SIDE),)), (theirs, ())):
        given = x.clone().requires_grad_()
        layer(given, *arguments).square().mean().backward()
        gradients.append(given.grad)
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)
    with torch.autocast(device, dtype=torch.bfloat16), torch.no_grad():
        error = (ours(x, (SIDE, SIDE)).float() - theirs(x).float()).norm() / theirs(x).float().norm()
    assert error < 0.03


@on_every_device
@pytest.mark.parametrize("kind", [MHSA, GPSA, PSA, LSA, TalkingHeads])
def test_the_fast_path_is_the_explicit_matrix(kind, device, randomise):
    layer = randomise(kind(H * D, H), 0.3).to(device)
    x = torch.randn(3, 5 * SIDE, H * D, device=device)
    expected = layer.proj(merge_heads(layer.weights(x, (5, SIDE)) @ layer.values(x)))
    torch.testing.assert_close(layer(x, (5, SIDE)), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("kind", [MHSA, GPSA, PSA])
def test_compiled_attention_is_what_it_was(kind, randomise):
    layer = randomise(kind(H * D, H), 0.3).cuda()
    x = torch.randn(3, SIDE**2, H * D, device="cuda")
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(layer)(x, (SIDE, SIDE)), layer(x, (SIDE, SIDE)), rtol=1e-3, atol=1e-4)


TINY = {"embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0}
VIT = ViTConfig(**TINY, tokenizer=PatchConfig(patch_size=4))
MODELS = {
    "vit": VIT,
    "distilled": replace(VIT, distilled=True),
    "convit": replace(VIT, attention=("gpsa", "mhsa"), class_token_layer=1),
    "relative": replace(VIT, position="relative", pooling="mean", layer_scale=0.1),
    "class attention": replace(VIT, attention=("talking_heads",), pooling="class_attention"),
    "shifted patches": replace(VIT, tokenizer=ShiftedPatchConfig(patch_size=4), attention=("lsa",)),
    "t2t": replace(VIT, tokenizer=T2TConfig(token_dim=8), position="sincos1d"),
    "cct": replace(VIT, tokenizer=ConvPoolConfig(layers=2, hidden_dim=16), pooling="seq", feedforward="conv"),
    "stages": replace(VIT, tokenizer=StagesConfig(cnn=ResNetConfig(depths=(1, 1), width=8))),
    "resnet": ResNetConfig(depths=(1, 1), width=8, attention_after=(1,)),
    "botnet": ResNetConfig(block="bottleneck", depths=(1, 1), attention_stages=(2,)),
    "wide_resnet": WideResNetConfig(depth=10, width_factor=1),
}


@on_every_device
@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_what_it_is_on_the_cpu(name, device):
    model, images = create_model(MODELS[name], num_classes=7, image_size=(48, 32)), torch.randn(5, 3, 48, 32)
    there = copy.deepcopy(model).to(device)
    found = []
    for net, given in ((model, images), (there, images.to(device))):
        logits = net(given)
        logits.square().mean().backward()
        found.append([logits.detach().cpu(), *(p.grad.cpu() for p in net.parameters())])
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-4)


@on_every_device
@pytest.mark.parametrize("kind", ["trivial", "rand"])
def test_augmentation_is_what_it_is_on_the_cpu(kind, device):
    """Every operation at every strength; halves may round the other way."""
    images = torch.randint(0, 256, (997, 3, 24, 32), dtype=torch.uint8)
    drawn = draw(AugmentConfig(policy=kind), len(images), (24, 32), torch.Generator().manual_seed(0))
    assert drawn.operation.unique().numel() == len(OPERATIONS)
    expected = apply(images, drawn)
    found = apply(images.to(device), Drawn(*(part.to(device) for part in drawn))).cpu()
    assert (found != expected).float().mean() < 1e-3
    assert (found.int() - expected.int()).abs().float().mean() < 0.05


@on_every_device
@pytest.mark.parametrize("kind", [SumConfig, UncertaintyConfig, DWAConfig, GradNormConfig, FAMOConfig, PCGradConfig])
def test_tasks_share_a_trunk_as_on_the_cpu(kind, device):
    tasks = {"label": ClassificationConfig(), "again": ClassificationConfig(label_smoothing=0.1)}
    recipe = replace(RECIPE, tasks=tasks, balance=kind(), augment=AugmentConfig(), whitening_init=False)
    found = [Run(recipe, cpu=where == "cpu").fit()["history"]["loss"] for where in (device, "cpu")]
    assert found[0] == pytest.approx(found[1], rel=0.05)


@on_every_device
def test_muon_moves_matrices_as_on_the_cpu(device):
    """In bfloat16 on CUDA: a few hundredths of the update."""
    start, gradient = torch.randn(13, 53), torch.randn(13, 53)
    p, other = nn.Parameter(start.clone().to(device)), nn.Parameter(torch.zeros(1, device=device))
    p.grad = gradient.to(device)
    groups = [{"params": [p], "lr": 1.0, "weight_decay": 0.0, "muon": True}]
    groups.append({"params": [other], "lr": 0.1, "weight_decay": 0.0, "muon": False})
    Muon(groups, (0.9, 0.999)).step()
    moved, expected = start - p.detach().cpu(), orthogonalised([gradient])[0]
    assert (moved - expected).norm() < 0.03 * expected.norm()


RECIPE = Recipe(
    name="devices",
    model=ViTConfig(
        embed_dim=32,
        depth=2,
        num_heads=4,
        attention=("gpsa",),
        pooling="mean",
        tokenizer=StagesConfig(cnn=ResNetConfig(depths=(1,), width=8, stem="pool")),
    ),
    progressive=ProgressiveConfig(sizes=((0.0, 4), (0.5, 8))),
    optim=MuonConfig(lr=2e-3),
    train=TrainConfig(steps=8, batch_size=64, precision="fp32", ema=0.5, log_every=1, evaluate_every=4),
    whitening_init=True,
    tta=True,
)
AUGMENTED = AugmentConfig(
    crop_padding=1, flip=True, policy="trivial", erasing=0.5, mixup=0.8, cutmix=1.0, mix_probability=0.8
)


@on_every_device
def test_a_run_learns_what_it_learns_on_the_cpu(device):
    """Without random images: those are drawn on the device, by its own generator."""
    found = [Run(RECIPE, cpu=where == "cpu").fit() for where in (device, "cpu")]
    losses = [result["history"]["loss"] for result in found]
    assert losses[0][-1] < losses[0][0]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    tests = [result["test"]["label"]["accuracy"] for result in found]
    assert tests[0] == pytest.approx(tests[1], abs=0.05)


@on_every_device
def test_random_batches_are_a_function_of_seed_and_step(device):
    recipe = replace(RECIPE, augment=AUGMENTED)
    first, second = (Run(recipe, cpu=device == "cpu").trainer.train for _ in range(2))
    for step in (3, 0, 7):
        batches = [source.batch(step) for source in (first, second)]
        assert batches[0].images.device.type == device
        assert torch.equal(batches[0].images, batches[1].images)
        assert torch.equal(batches[0].mix.share, batches[1].mix.share)


@on_every_device
def test_a_run_goes_on_where_it_stopped(device, tmp_path):
    recipe = replace(RECIPE, augment=AUGMENTED)
    whole = Run(recipe, RunFolder(tmp_path / "whole", to_yaml(recipe)), cpu=device == "cpu").fit()

    class Stopped(Exception):
        pass

    def stop(progress):
        if progress.step == 5:
            raise Stopped

    folder = RunFolder(tmp_path / "stopped", to_yaml(recipe))
    with pytest.raises(Stopped):
        Run(recipe, folder, cpu=device == "cpu").fit(stop)
    again = Run(recipe, folder, cpu=device == "cpu").fit()
    exact = {"rel": 0, "abs": 0} if device == "cpu" else {"rel": 1e-3}
    assert again["history"]["loss"][-3:] == pytest.approx(whole["history"]["loss"][-3:], **exact)
    assert again["test_tta"]["label"]["accuracy"] == pytest.approx(whole["test_tta"]["label"]["accuracy"], abs=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_compiled_run_in_bf16_learns():
    train = replace(RECIPE.train, precision="bf16", compile=True, steps=30, evaluate_every=30)
    result = Run(replace(RECIPE, augment=AUGMENTED, train=train)).fit()
    assert result["seconds"]["compile"] > 0
    assert result["history"]["loss"][-1] < result["history"]["loss"][0]
