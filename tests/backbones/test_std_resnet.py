"""The weight-standardised ResNet against timm's, and its pieces against their definitions."""

from functools import partial

import pytest
import torch
from torch import nn

from hybridvit.backbones.std_resnet import StdConv, StdResNet, StdResNetConfig


def theirs_of(config, in_channels):
    """timm's network and its state dict under our names."""
    pytest.importorskip("timm")
    from timm.layers import StdConv2dSame
    from timm.models.resnetv2 import ResNetV2, create_resnetv2_stem

    conv = partial(StdConv2dSame, eps=1e-8)
    if not config.depths:
        theirs = create_resnetv2_stem(in_channels, config.width, stem_type="same", preact=False, conv_layer=conv)
        return theirs, {f"stem.{key}": value for key, value in theirs.state_dict().items()}
    theirs = ResNetV2(
        layers=config.depths,
        width_factor=config.width / 64,
        preact=False,
        stem_type="same",
        conv_layer=conv,
        in_chans=in_channels,
        num_classes=0,
        global_pool="",
    )
    return theirs, {key.replace(".blocks.", "."): value for key, value in theirs.state_dict().items()}


@pytest.mark.parametrize(
    ("config", "in_channels", "size"),
    [
        (StdResNetConfig(depths=(2, 1, 2), width=32), 3, (64, 48)),
        (StdResNetConfig(depths=(2, 1, 2), width=32), 1, (33, 61)),
        (StdResNetConfig(depths=(1, 2), width=64), 5, (31, 32)),
        (StdResNetConfig(depths=(1,), width=128), 2, (19, 22)),
        (StdResNetConfig(depths=()), 3, (35, 64)),
        (StdResNetConfig(depths=(), width=96), 13, (7, 10)),
    ],
)
def test_equals_timm_with_the_same_weights(config, in_channels, size, randomise):
    theirs, _ = theirs_of(config, in_channels)
    randomise(theirs)
    ours = StdResNet(config, size, in_channels)
    state = theirs.state_dict()
    prefix = "" if config.depths else "stem."
    ours.load_state_dict({prefix + key.replace(".blocks.", "."): value for key, value in state.items()})
    images = torch.randn(2, in_channels, *size)
    expected = theirs(images)
    assert expected.std() > 0.01
    features = ours(images)
    torch.testing.assert_close(features.maps[max(features.maps)], expected, rtol=1e-5, atol=1e-5)
    if config.depths:
        stages = theirs.forward_intermediates(images, intermediates_only=True)[1:]
        for stride, stage in zip(features.maps, stages, strict=True):
            torch.testing.assert_close(features.maps[stride], stage, rtol=1e-5, atol=1e-5)


def test_the_hybrid_vits_network_has_timms_parameters():
    with torch.device("meta"):
        ours = StdResNet(StdResNetConfig(), (224, 224), 3)
        _, state = theirs_of(StdResNetConfig(), 3)
    assert {key: value.shape for key, value in ours.state_dict().items()} == {k: v.shape for k, v in state.items()}
    assert (ours.spec.grid, ours.spec.map_channels) == ((14, 14), {4: 256, 8: 512, 16: 1024})
    assert ours.spec.embed_dim == 1024


@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (3, 2), (3, 1), (1, 2)])
@pytest.mark.parametrize("size", [(6, 9), (5, 7), (1, 4)])
def test_convolution_equals_its_definition(kernel, stride, size):
    conv = StdConv(2, 3, kernel, stride).double()
    x = torch.randn(1, 2, *size, dtype=torch.float64)
    height, width = (-(-side // stride) for side in size)
    starts = []
    for side, cells in zip(size, (height, width), strict=True):
        starts.append(max((cells - 1) * stride + kernel - side, 0) // 2)
    filters = [(w - w.mean()) / (w.var(correction=0) + 1e-8).sqrt() for w in conv.weight]
    expected = conv.bias[:, None, None].expand(1, 3, height, width).clone()
    for row in range(height):
        for column in range(width):
            for i in range(kernel):
                for j in range(kernel):
                    y, z = row * stride + i - starts[0], column * stride + j - starts[1]
                    if 0 <= y < size[0] and 0 <= z < size[1]:
                        for index, weight in enumerate(filters):
                            expected[0, index, row, column] += (weight[:, i, j] * x[0, :, y, z]).sum()
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize(
    ("depths", "in_channels", "size"), [((2, 1), 3, (32, 64)), ((1, 1, 1), 4, (33, 20)), ((), 1, (9, 32))]
)
def test_keeps_the_contract(check_contract, depths, in_channels, size):
    backbone = StdResNet(StdResNetConfig(depths=depths, width=32), size, in_channels)
    assert len(backbone.layer_features(torch.randn(1, in_channels, *size))) == max(len(depths), 1)
    assert tuple(backbone.spec.map_channels) == (4, 8, 16)[: max(len(depths), 1)]
    check_contract(backbone, size)


def test_scale_of_the_weights_does_not_matter():
    backbone = StdResNet(StdResNetConfig(depths=(1,), width=32), (16, 24), 3)
    images = torch.randn(2, 3, 16, 24)
    expected = backbone(images).tokens
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.mul_(7).add_(1)
    torch.testing.assert_close(backbone(images).tokens, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depths": (3, 0)}, "depths.1 must be at least 1, given 0"),
        ({"width": 48}, "width must be a multiple of 32, given 48"),
        ({"width": 0}, "given 0"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        StdResNetConfig(**fields)


def test_images_that_do_not_fit_are_refused():
    config = StdResNetConfig(depths=(1, 1), width=32)
    with pytest.raises(ValueError, match="7x40 pixels are smaller than the stride 8"):
        StdResNet(config, (7, 40), 3)
    with pytest.raises(ValueError, match=r"expected images \[b, 3, h, w\], given \[2, 1, 8, 8\]"):
        StdResNet(config, (8, 8), 3)(torch.randn(2, 1, 8, 8))
