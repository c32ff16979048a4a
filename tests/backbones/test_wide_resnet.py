"""Wide ResNets against a functional one written from the paper, and the published sizes."""

import pytest
import torch
import torch.nn.functional as F

from hybridvit.backbones.wide_resnet import WideResNet, WideResNetConfig


def slow_wide_resnet(state, images, blocks, training):
    """Maps of the three stages, from a state dict: BN, ReLU, conv, twice, and a shortcut (fig. 1b)."""

    def norm(x, name):
        values = [state[f"{name}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")]
        weight, bias, mean, variance = (value.view(1, -1, 1, 1) for value in values)
        if training:
            mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
        return ((x - mean) / (variance + 1e-5).sqrt() * weight + bias).clamp(min=0)

    x = F.conv2d(images, state["conv.weight"], padding=1)
    maps = []
    for stage in range(3):
        for block in range(blocks):
            name = f"stages.{stage}.{block}"
            stride = 2 if stage and not block else 1
            active = norm(x, f"{name}.norm1")
            y = F.conv2d(active, state[f"{name}.conv1.weight"], stride=stride, padding=1)
            y = F.conv2d(norm(y, f"{name}.norm2"), state[f"{name}.conv2.weight"], padding=1)
            if f"{name}.shortcut.weight" in state:
                x = y + F.conv2d(active, state[f"{name}.shortcut.weight"], stride=stride)
            else:
                assert x.shape == y.shape
                x = y + x
        maps.append(x)
    maps[-1] = norm(x, "norm")
    return maps


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("depth", "factor", "in_channels", "size"), [(10, 1, 3, (32, 20)), (16, 2, 1, (13, 18))])
def test_equals_a_functional_one(depth, factor, in_channels, size, training):
    backbone = WideResNet(WideResNetConfig(depth=depth, width_factor=factor), size, in_channels).double()
    state = backbone.state_dict()
    for name, value in state.items():
        if "norm" in name and value.is_floating_point():
            value.uniform_(0.5, 1.5)
    images = torch.randn(2, in_channels, *size, dtype=torch.float64)
    expected = slow_wide_resnet({k: v.clone() for k, v in state.items()}, images, (depth - 4) // 6, training)
    features = backbone.train(training)(images)
    assert expected[-1].std() > 0.01
    for stride, value in zip((1, 2, 4), expected, strict=True):
        torch.testing.assert_close(features.maps[stride], value)
    torch.testing.assert_close(features.tokens, expected[-1].flatten(2).transpose(1, 2))


@pytest.mark.parametrize(
    ("depth", "factor", "millions"), [(28, 10, 36.48), (16, 8, 10.96), (40, 4, 8.95), (22, 8, 17.16)]
)
def test_published_number_of_parameters(depth, factor, millions):
    """In millions, with a head for 10 classes."""
    with torch.device("meta"):
        backbone = WideResNet(WideResNetConfig(depth=depth, width_factor=factor), (224, 224), 3)
    count = sum(p.numel() for p in backbone.parameters()) + 10 * (backbone.spec.embed_dim + 1)
    assert abs(count / 1e6 - millions) <= 0.01
    convolutions = [m for m in backbone.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == depth - 3  # the depth also counts the three shortcuts' 1x1 convolutions


@pytest.mark.parametrize(("factor", "in_channels", "size"), [(1, 3, (32, 64)), (2, 2, (17, 6))])
def test_keeps_the_contract(check_contract, factor, in_channels, size):
    config = WideResNetConfig(depth=16, width_factor=factor, dropout=0.3)
    backbone = WideResNet(config, size, in_channels)
    assert backbone.spec.map_channels == {1: 16 * factor, 2: 32 * factor, 4: 64 * factor}
    assert len(backbone.layer_features(torch.randn(2, in_channels, *size))) == 3
    check_contract(backbone, size)


def test_dropout_works_in_training_only():
    images = torch.randn(2, 3, 8, 12)
    backbone = WideResNet(WideResNetConfig(depth=10, width_factor=1, dropout=0.5), (8, 12), 3)
    assert not torch.equal(backbone(images).tokens, backbone(images).tokens)
    backbone.eval()
    assert torch.equal(backbone(images).tokens, backbone(images).tokens)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 27}, r"6n \+ 4 with n at least 1, given 27; nearest: 22 or 28"),
        ({"depth": 4}, "given 4; nearest: 10"),
        ({"depth": -3}, "given -3; nearest: 10"),
        ({"depth": 11}, "given 11; nearest: 10 or 16"),
        ({"width_factor": 0}, "width_factor must be at least 1, given 0"),
        ({"dropout": 1.0}, "dropout must be below 1, given 1.0"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        WideResNetConfig(**fields)


def test_images_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="40x3 pixels are smaller than the stride 4"):
        WideResNet(WideResNetConfig(depth=10, width_factor=1), (40, 3), 3)
