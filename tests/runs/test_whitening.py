"""The whitening start of whole backbones: which convolution it finds, and which tokenizers have none."""

import pytest
import torch

from hybridvit.backbones import (
    ConvConfig,
    ConvPoolConfig,
    OverlapConfig,
    PatchConfig,
    ResNetConfig,
    ShiftedPatchConfig,
    StagesConfig,
    StdResNetConfig,
    T2TConfig,
    TimmConfig,
    TorchvisionConfig,
    ViTConfig,
    WideResNetConfig,
)
from hybridvit.models import create_backbone
from hybridvit.runs.net import whiten


def vit(tokenizer):
    return ViTConfig(embed_dim=32, depth=1, num_heads=2, tokenizer=tokenizer)


SMALL = ResNetConfig(depths=(1,), width=16)
MODELS = {
    "patch": (vit(PatchConfig(patch_size=4)), "tokenizer.proj", 32),
    "overlap": (vit(OverlapConfig(kernel_size=3, stride=2)), "tokenizer.proj", 32),
    "conv": (vit(ConvConfig(channels=(12, 20), strides=(2, 2))), "tokenizer.convs.0", 12),
    "conv_pool": (vit(ConvPoolConfig(layers=2, hidden_dim=16)), "tokenizer.convs.0", 16),
    "stages": (vit(StagesConfig(cnn=SMALL, patch_size=2)), "tokenizer.cnn.conv1", 16),
    "resnet": (SMALL, "conv1", 16),
    "wide_resnet": (WideResNetConfig(depth=10, width_factor=1), "conv", 16),
    "torchvision": (TorchvisionConfig(name="vgg11_bn"), "features.0", 36),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_convolution_that_reads_the_images_is_whitened_and_nothing_else(name):
    config, path, filters = MODELS[name]
    backbone = create_backbone(config, image_size=32, in_channels=2).train()
    images = torch.randn(41, 2, 32, 32)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    random = torch.get_rng_state()
    assert whiten(backbone, images) == filters
    assert torch.equal(torch.get_rng_state(), random)
    assert backbone.training
    changed = {key for key, value in backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert f"{path}.weight" in changed
    assert changed <= {f"{path}.weight", f"{path}.bias"}
    conv = backbone.get_submodule(path)
    own = min(filters, conv.weight[0].numel())
    found = torch.cov(conv(images).transpose(0, 1).flatten(1).detach().double()[:own])
    torch.testing.assert_close(found, torch.eye(own).double(), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (vit(ShiftedPatchConfig(patch_size=4)), "ShiftedPatchTokenizer has no convolution that reads the images"),
        (vit(T2TConfig()), "T2TTokenizer has no convolution that reads the images"),
        (
            vit(StagesConfig(cnn=StdResNetConfig(depths=(), width=32), patch_size=2)),
            "StagesTokenizer: only a plain, .*: StdConv",
        ),
        (StdResNetConfig(depths=(1,), width=32), "StdResNet: only a plain, .*: StdConv"),
    ],
)
def test_tokenizers_without_a_plain_convolution_are_named(config, message):
    backbone = create_backbone(config, image_size=32)
    with pytest.raises(ValueError, match=message):
        whiten(backbone, torch.randn(5, 3, 32, 32))


def test_timms_models_are_whitened_too():
    pytest.importorskip("timm")
    backbone = create_backbone(TimmConfig(name="vit_tiny_patch16_224"), image_size=32)
    assert whiten(backbone, torch.randn(700, 3, 32, 32)) == 192


def test_several_cameras_are_refused():
    with pytest.raises(ValueError, match="the images of one camera, given Linear"):
        whiten(torch.nn.Linear(2, 3), torch.randn(5, 3, 32, 32))
