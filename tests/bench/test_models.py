"""The bench's whole models: that the pairs compute the same, what a row would notice, what is compiled."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hybridvit.backbones.variants import VARIANTS
from hybridvit.bench import models
from hybridvit.bench.measure import DEVICE
from hybridvit.bench.sizes import MODELS, ModelCase, Seconds, Sizes
from hybridvit.layers import attention

CASE = ModelCase("convit_tiny", "convit_tiny", 32, 1, "peer/ours", fp32=1.5, bf16=1.9, compiled=2)
SHORT = Sizes(models=(CASE,), compiled_batch=2, deit=(("convit_tiny", 32, 0.9),), seconds=Seconds(0, 0, 0, 0), pairs=1)


@pytest.mark.parametrize(
    "case", {case.name: replace(case, pixels=32) for case in MODELS}.values(), ids=lambda c: c.name
)
def test_every_pair_computes_the_same(case):
    pytest.importorskip("timm")
    pair = models.model_pair(case)
    assert models.logit_difference(pair, models.random_images(2, 32)) < 1e-5


def test_difference_of_the_logits_is_a_share_of_the_largest():
    pair = [nn.Linear(1, 2, bias=False, device=DEVICE) for _ in range(2)]
    for model, weights in zip(pair, ([1.0, -5.0], [2.0, -8.0]), strict=True):
        model.weight.data.copy_(torch.tensor(weights)[:, None])
    assert models.logit_difference(pair, torch.ones(1, 1, device=DEVICE)) == 3 / 8


@pytest.mark.parametrize("parameter", ["blocks.3.attn.gating_param", "blocks.11.mlp.fc1.weight", "cls_token"])
def test_difference_row_sees_models_that_differ(parameter, monkeypatch):
    pytest.importorskip("timm")
    ours, theirs = models.model_pair(CASE)
    with torch.no_grad():
        theirs.get_parameter(parameter).mul_(1.1)
    monkeypatch.setattr(models, "model_pair", lambda case: (ours, theirs))
    assert not next(models.models_against_timm(SHORT))["reached"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_step_reaches_every_weight_and_leaves_no_gradients_behind(precision):
    model = models.create_model("convit_tiny", image_size=32).to(DEVICE)
    reached, dtypes = set(), []
    for name, parameter in model.named_parameters():
        parameter.register_hook(lambda gradient, name=name: reached.add(name))
    model.register_forward_hook(lambda module, images, logits: dtypes.append((module.training, logits.dtype)))
    models.training_step(model.eval(), models.random_images(2, 32), precision)()
    assert reached == {name for name, _ in model.named_parameters()}
    assert dtypes == [(True, {"fp32": torch.float32, "bf16": torch.bfloat16}[precision])]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_inference_keeps_nothing_for_a_backward_pass():
    model, seen = nn.Linear(3, 2).to(DEVICE), []
    model.register_forward_hook(lambda module, x, out: seen.append((module.training, out.requires_grad, out.dtype)))
    models.inference(model.train(), torch.ones(1, 3, device=DEVICE), "bf16")()
    assert seen == [(False, False, torch.bfloat16)]


def test_on_an_accelerator_both_models_of_a_pair_are_compiled(monkeypatch):
    pytest.importorskip("timm")
    compiled = []
    monkeypatch.setattr(models, "COMPILED", True)
    monkeypatch.setattr(nn.Module, "compile", lambda model: compiled.append(type(model).__name__))
    rows = [*models.models_against_timm(SHORT), *models.convit_against_deit(SHORT)]
    assert [(row["what"], row["target"]) for row in rows[1:]] == [
        ("training step, convit_tiny against timm, 32 px, batch 2, bf16, compiled", "peer/ours >= 2"),
        ("inference, convit_tiny against our DeiT, 32 px, batch 2, bf16, compiled", "peer/ours >= 0.9"),
        ("training step, convit_tiny against our DeiT, 32 px, batch 2, bf16, compiled", "peer/ours >= 0.9"),
    ]
    assert compiled == ["Classifier", "ConVit"] + ["Classifier"] * 4


def test_without_a_limit_there_is_no_row(monkeypatch):
    pytest.importorskip("timm")
    monkeypatch.setattr(models, "model_pair", lambda case: pytest.fail("built a pair for nothing"))
    for compiled, limits in ((False, {"compiled": 2}), (True, {"fp32": 1.5, "bf16": 1.9})):
        monkeypatch.setattr(models, "COMPILED", compiled)
        case = ModelCase("convit_tiny", "convit_tiny", 32, 1, "peer/ours", **limits)
        assert list(models.models_against_timm(replace(SHORT, models=(case,)))) == []


@pytest.mark.parametrize(
    ("name", "depth", "entry"), [("convit_tiny", 4, 2), ("convit_tiny", 1, 0), ("vit_tiny_16", 3, 0)]
)
def test_last_blocks_keep_their_kind_and_the_place_of_the_class_token(name, depth, entry):
    whole = VARIANTS[name].config
    config = models.last_blocks(whole, depth)
    assert config.layer_attention == whole.layer_attention[-depth:]
    assert config.class_token_layer == entry
    assert config.embed_dim == whole.embed_dim


@pytest.mark.skipif(DEVICE.type != "cpu", reason="chooses the kernel of the CPU")
def test_memory_growth_sees_memory_that_is_quadratic_in_the_tokens(monkeypatch):
    sizes = replace(SHORT, growth=("convit_tiny", 3, (8, 32), 1.25))
    (linear,) = models.memory_growth(sizes)
    monkeypatch.setattr(
        attention, "choose_kernel", lambda device_type, dtype, tokens: attention.Kernel(fused=False, dtype=dtype)
    )
    (quadratic,) = models.memory_growth(sizes)
    assert linear["reached"]
    assert linear["ratio"] == pytest.approx(1, abs=0.1)
    assert not quadratic["reached"]
    assert linear["what"].startswith(
        "peak memory per token, last 3 blocks of convit_tiny, grid 32x32 against 8x8, 1024"
    )
