"""The stem of a CNN follows the size of the images, and published weights find theirs."""

import pytest
import torch
from torchvision import models

import hybridvit as hv
from hybridvit.backbones import ResNetConfig, TorchvisionConfig

CLASSES = 7


def randomised(model):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize(("size", "kernel"), [((8, 200), 3), (32, 3), (95, 3), (96, 7), ((97, 224), 7), (224, 7)])
def test_the_stem_follows_the_shorter_side(size, kernel):
    with torch.device("meta"):
        for name in ("resnet18", "botnet50", "resnet18_attention"):
            assert hv.create_model(name, CLASSES, size).backbone.conv1.kernel_size == (kernel, kernel)
        assert hv.create_model("densenet121", CLASSES, size).backbone.features.conv0.kernel_size == (kernel, kernel)


@pytest.mark.parametrize("stem", ["small", "pool", "imagenet"])
def test_a_stem_that_is_named_is_kept(stem):
    with torch.device("meta"):
        kernels = {hv.create_model(ResNetConfig(stem=stem), 2, size).backbone.conv1.kernel_size for size in (32, 224)}
    assert kernels == {(7, 7) if stem == "imagenet" else (3, 3)}


def test_torchvisions_weights_load_at_224_pixels():
    theirs = randomised(models.resnet18(num_classes=CLASSES))
    ours = hv.create_model("resnet18", CLASSES, 224).eval()
    assert hv.load_weights(ours, theirs.state_dict()).complete
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)


def test_timms_weights_load_at_224_pixels():
    timm = pytest.importorskip("timm")
    theirs = randomised(timm.create_model("resnet18", num_classes=CLASSES))
    ours = hv.create_model("resnet18", CLASSES, 224).eval()
    assert hv.load_weights(ours, theirs.state_dict()).complete
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "size", "other", "stem"),
    [("resnet18", 32, 224, "imagenet"), ("resnet18", 224, 32, "small"), ("alexnet", 64, 224, "imagenet")],
)
def test_weights_of_another_stem_are_refused_with_the_field_to_set(model, size, other, stem):
    weights = hv.create_model(model, CLASSES, other).state_dict()
    with pytest.raises(ValueError, match=f"is that of the {stem} stem: build the model with stem='{stem}'"):
        hv.load_weights(hv.create_model(model, CLASSES, size), weights)


def test_vgg_has_one_stem():
    with torch.device("meta"):
        for size in (32, 224):
            backbone = hv.create_backbone(TorchvisionConfig(name="vgg11_bn"), size)
            assert backbone.features[0].kernel_size == (3, 3)
