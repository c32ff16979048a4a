"""timm's models as backbones, against what timm itself gives."""

import sys

import pytest
import torch

from hybridvit.backbones.timm_backbone import TimmBackbone, TimmConfig

timm = pytest.importorskip("timm")

# name, image size, grid, width, prefix tokens, pooling, whether timm's features lie channels last
MODELS = [
    ("resnet18", (64, 33), (2, 2), 512, 0, "mean", False),
    ("convnext_atto", (64, 32), (2, 1), 320, 0, "mean", False),
    ("swin_tiny_patch4_window7_224", (32, 64), (1, 2), 768, 0, "mean", True),
    ("vit_tiny_patch16_224", (32, 64), (2, 4), 192, 1, "cls", False),
    ("deit_tiny_distilled_patch16_224", (64, 32), (4, 2), 192, 2, "cls", False),
]
IDS = [model[0] for model in MODELS]


@pytest.mark.parametrize(("name", "size", "grid", "width", "prefix", "pooling", "channels_last"), MODELS, ids=IDS)
def test_equals_timms_own_features(name, size, grid, width, prefix, pooling, channels_last):
    backbone = TimmBackbone(TimmConfig(name=name), size, 2).eval()
    spec = backbone.spec
    assert (spec.grid, spec.embed_dim, spec.prefix_tokens, spec.pooling) == (grid, width, prefix, pooling)
    assert spec.distilled == ("distilled" in name)
    assert spec.map_channels == {size[0] // grid[0]: width}
    options = {} if name.startswith(("resnet", "convnext")) else {"img_size": size}
    theirs = timm.create_model(name, num_classes=0, in_chans=2, **options).eval()
    missing, _ = theirs.load_state_dict(backbone.model.state_dict(), strict=False)
    assert all(key.startswith(("head.norm", "head_dist")) for key in missing)
    images = torch.randn(2, 2, *size)
    with torch.no_grad():
        expected, features = theirs.forward_features(images), backbone(images)
    assert features.prefix.shape == (2, prefix, width)
    if expected.ndim == 3:
        assert torch.equal(torch.cat([features.prefix, features.tokens], dim=1), expected)
        return
    for row in range(grid[0]):
        for column in range(grid[1]):
            cell = expected[:, row, column] if channels_last else expected[:, :, row, column]
            assert torch.equal(features.tokens[:, row * grid[1] + column], cell)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet18", (64, 96)),
        ("deit_tiny_distilled_patch16_224", (48, 32)),
        ("convnext_atto", (64, 32)),
        ("swin_tiny_patch4_window7_224", (32, 64)),
    ],
)
def test_keeps_the_contract(check_contract, name, size):
    check_contract(TimmBackbone(TimmConfig(name=name), size, 3), size)


def test_layers_are_timms_groups():
    backbone = TimmBackbone(TimmConfig(name="vit_tiny_patch16_224"), (32, 32), 3)
    layers = backbone.parameter_layers()
    assert len(layers) == 13  # the embedding and twelve blocks
    assert "model.patch_embed.proj.weight" in layers[0]
    assert all(name.startswith("model.blocks.11.") or name.startswith("model.norm.") for name in layers[12])
    images = torch.randn(1, 3, 32, 32)
    intermediates = backbone.eval().model.forward_intermediates(images, intermediates_only=True)
    for ours, theirs in zip(backbone.layer_features(images), intermediates, strict=True):
        torch.testing.assert_close(ours.tokens, theirs.flatten(2).transpose(1, 2))
        assert ours.prefix.shape == (1, 1, 192)


def test_batch_norm_at_the_end_belongs_to_the_last_layer():
    backbone = TimmBackbone(TimmConfig(name="resnetv2_18"), (32, 64), 1).eval()
    images = torch.randn(1, 1, 32, 64)
    layers = backbone.layer_features(images)
    torch.testing.assert_close(layers[-1].tokens, backbone(images).tokens)
    assert torch.equal(backbone.final_norm(layers[-1].tokens), layers[-1].tokens)


def test_nothing_is_kept_that_no_gradient_reaches():
    backbone = TimmBackbone(TimmConfig(name="convnext_atto"), (32, 32), 3)
    assert isinstance(backbone.model.head, torch.nn.Identity)  # timm's norm after the pooling
    backbone(torch.randn(2, 3, 32, 32)).tokens.sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_missing_timm_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match=r"timm is not installed: pip install 'hybridvit\[timm\]'"):
        TimmBackbone(TimmConfig(), (32, 32), 3)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("resnet19", (32, 32), "timm has no model 'resnet19'; nearest: resnet1"),
        ("nest_tiny", (64, 96), "cannot be built for images of 64x96: Model only handles square inputs"),
        ("volo_d1_224", (64, 96), "gives 25 tokens, no grid over images of 64x96"),
    ],
)
def test_models_that_do_not_fit_are_refused(name, size, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(TimmConfig(name=name), size, 3)


def test_an_empty_name_is_refused():
    with pytest.raises(ValueError, match="name must be at least 1 long, given ''"):
        TimmConfig(name="")


def test_images_with_other_channels_are_refused():
    with pytest.raises(ValueError, match=r"expected images \[b, 1, h, w\], given \[2, 3, 32, 32\]"):
        TimmBackbone(TimmConfig(), (32, 32), 1)(torch.randn(2, 3, 32, 32))
