"""Training steps on a GPU that is not there: nothing mixes devices, and nothing makes the CPU wait for the GPU.

torch's fake tensors have a device and a shape but no values: an operation on two devices is refused, and so is asking
for a value, as ``bool(tensor)``, ``tensor.item()`` or a mask as an index do. Gradients are made up, as the backward
pass needs a driver; reading numbers every ``log_every`` steps is no part of a step.
"""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn.utils import clip_grad_norm_

from hybridvit.backbones import ConvConfig, PatchConfig, ResNetConfig, StagesConfig, T2TConfig, ViTConfig
from hybridvit.data.augment import mixing
from hybridvit.data.augment.config import AugmentConfig
from hybridvit.data.loaders import device_loader
from hybridvit.data.loaders.progressive import ProgressiveConfig
from hybridvit.recipe import Recipe
from hybridvit.runs.run import Run
from hybridvit.training.engine import TrainConfig, Trainer
from hybridvit.training.optimisers.kinds import AdamWConfig
from hybridvit.training.optimisers.muon import MuonConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:Accessing the data pointer of Fake"),
    pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="this torch is built without CUDA"),
]
CUDA = torch.device("cuda", 0)
TINY = {"embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0}
VIT = ViTConfig(**TINY, tokenizer=PatchConfig(patch_size=2))
MODELS = {
    "convit": replace(VIT, attention=("gpsa", "mhsa"), class_token_layer=1, drop_path=0.1, dropout=0.1),
    "psa": replace(VIT, attention=("psa",), pooling="mean"),
    "hybrid": ViTConfig(**TINY, tokenizer=StagesConfig(cnn=ResNetConfig(depths=(1,), width=8)), feedforward="conv"),
    "cct": ViTConfig(**TINY, tokenizer=ConvConfig(channels=(8, 16), strides=(1, 2)), attention=("lsa",), pooling="seq"),
    "t2t": ViTConfig(**TINY, tokenizer=T2TConfig(token_dim=8), attention=("talking_heads",), position="sincos1d"),
    "relative": replace(VIT, position="relative", pooling="class_attention", layer_scale=0.1),
    "resnet": ResNetConfig(depths=(1, 1), width=8),
}
AUGMENT = AugmentConfig(
    crop_padding=1, flip=True, policy="trivial", erasing=0.5, cutout=2, mixup=0.8, cutmix=1.0, mix_probability=0.8
)
RECIPE = Recipe(
    name="waits",
    model=MODELS["resnet"],
    augment=AUGMENT,
    progressive=ProgressiveConfig(sizes=((0.0, 4), (0.5, 8))),
    train=TrainConfig(steps=8, batch_size=16, ema=0.9),
)


class Gpu:
    """What the trainer asks of an accelerator, for a GPU that is not there."""

    device = CUDA
    num_processes = 1

    def __init__(self, net):
        self.net = net

    def prepare(self, *things):
        return things

    def unwrap_model(self, net):
        return net

    def autocast(self):
        return nullcontext()  # torch has none without a driver

    def backward(self, loss):
        assert loss.device == CUDA
        for parameter in self.net.parameters():
            parameter.grad = torch.empty_like(parameter)

    clip_grad_norm_ = staticmethod(clip_grad_norm_)


class Generator(torch.Generator):
    """Says that it lives on the GPU."""

    def __new__(cls, device):
        assert device == CUDA
        return super().__new__(cls, "cpu")

    device = CUDA


def moved(module, *_):
    """The module with fake tensors on the GPU; torch's own way cannot swap those."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None and value.device != CUDA:
                part._parameters[name] = nn.Parameter(value.detach().to(CUDA), value.requires_grad)
        for name, value in part._buffers.items():
            if value is not None and value.device != CUDA:
                part._buffers[name] = value.to(CUDA)
    return module


@pytest.fixture
def gpu(monkeypatch):
    """Inside, tensors have no values; gives the steps of a recipe there."""

    @contextmanager
    def steps_of(recipe):
        run = Run(recipe, cpu=True)
        with FakeTensorMode(allow_non_fake_inputs=True):
            monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)  # torch 2.11: not asked for
            monkeypatch.setattr(mixing, "beta", lambda alpha, generator: torch.rand_like(alpha.double()))  # nor drawn
            monkeypatch.setattr(nn.Module, "to", moved)
            monkeypatch.setattr(torch, "Generator", Generator)
            run.batches.__init__(replace(run.batches.data, device=CUDA))
            trainer = Trainer(
                run.net, run.tasks, recipe.train, recipe.optim, run.trainer.train, accelerator=Gpu(run.net)
            )
            yield run, trainer
        monkeypatch.undo()

    return steps_of


@pytest.mark.parametrize("optim", [AdamWConfig(), MuonConfig()], ids=lambda one: one.kind)  # SGD has no fake kernel
@pytest.mark.parametrize("model", MODELS)
def test_a_step_stays_on_the_gpu_and_never_waits(model, optim, gpu):
    recipe = replace(RECIPE, model=MODELS[model], optim=optim)
    with gpu(recipe) as (run, trainer):
        assert run.batches.ahead == device_loader.AHEAD
        for step in (0, 1, 5):
            batch = run.trainer.train.batch(step)
            assert batch.images.device == CUDA
            assert batch.images.shape == (16, 1, *(8 if step > 3 else 4,) * 2)
            loss, own, present = trainer.update(batch)
            assert {loss.device, own.device, present.device} == {CUDA}


def test_what_waits_is_found(gpu):
    """The check of this file is one that can fail."""
    with gpu(replace(RECIPE, model=MODELS["resnet"])) as (run, _):
        labels = run.trainer.train.batch(0).targets["label"]
        with pytest.raises(DataDependentOutputException):
            bool((labels > 3).any())
        with pytest.raises(RuntimeError, match="devices"):
            labels.float() + torch.ones(16)
