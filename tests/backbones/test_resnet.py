"""ResNets against torchvision's with the same state dict, and the backbone contract."""

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.resnet import Bottleneck

from hybridvit.backbones.resnet import ResNet, ResNetConfig
from hybridvit.models import create_backbone, create_model

TORCHVISION = {
    "resnet18": (ResNetConfig(stem="imagenet"), 11_689_512),
    "resnet34": (ResNetConfig(stem="imagenet", depths=(3, 4, 6, 3)), 21_797_672),
    "resnet50": (ResNetConfig(stem="imagenet", block="bottleneck", depths=(3, 4, 6, 3)), 25_557_032),
}


SHALLOW = (2, 1, 1, 1)  # blocks of a bottleneck network, deep enough to have every kind of block


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("theirs", "config"),
    [
        (lambda: models.resnet18(num_classes=7), ResNetConfig(stem="imagenet")),
        (
            lambda: models.ResNet(Bottleneck, SHALLOW, num_classes=7),
            ResNetConfig(stem="imagenet", block="bottleneck", depths=SHALLOW),
        ),
    ],
    ids=["resnet18", "bottleneck"],
)
def test_equals_torchvision_with_the_same_state_dict(theirs, config, training):
    theirs = theirs()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    state = theirs.state_dict()
    head = {key.removeprefix("fc."): state.pop(key) for key in ("fc.weight", "fc.bias")}
    ours = create_model(config, num_classes=7, image_size=(40, 72))
    ours.backbone.load_state_dict(state)
    ours.head.fc.load_state_dict(head)
    images = torch.randn(2, 3, 40, 72)
    expected = theirs.train(training)(images)
    assert expected.std() > 0.01
    torch.testing.assert_close(ours.train(training)(images), expected, rtol=1e-5, atol=1e-5)
    for key, value in ours.backbone.state_dict().items():  # after training mode: the running statistics too
        torch.testing.assert_close(value, theirs.state_dict()[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", TORCHVISION)
def test_published_number_of_parameters(name):
    config, published = TORCHVISION[name]
    with torch.device("meta"):
        assert sum(p.numel() for p in create_model(config).parameters()) == published
        small = create_model(ResNetConfig(block=config.block, depths=config.depths, stem="small"))
    assert sum(p.numel() for p in small.parameters()) == published - 3 * 64 * (7 * 7 - 3 * 3)


@pytest.mark.parametrize("size", [(8, 24), (11, 17), (9, 8)])
@pytest.mark.parametrize(
    ("config", "strides", "channels"),
    [
        (ResNetConfig(width=3), (1, 2, 4, 8), (3, 6, 12, 24)),
        (ResNetConfig(width=5, depths=(1, 2, 1)), (1, 2, 4), (5, 10, 20)),
        (ResNetConfig(width=5, depths=(1, 1), stem="imagenet"), (4, 8), (5, 10)),
        (ResNetConfig(width=5, depths=(1, 1, 1), stem="pool"), (2, 4, 8), (5, 10, 20)),
        (ResNetConfig(block="bottleneck", depths=(1, 1)), (1, 2), (256, 512)),
    ],
)
def test_features_are_as_declared(config, strides, channels, size):
    backbone = create_backbone(config, image_size=size, in_channels=2)
    spec = backbone.spec
    assert spec.map_channels == dict(zip(strides, channels, strict=True))
    assert (spec.embed_dim, spec.prefix_tokens, spec.pooling) == (channels[-1], 0, "mean")
    features = backbone(torch.randn(2, 2, *size))
    for stride in strides:
        expected = tuple(-(-side // stride) for side in size)
        assert features.maps[stride].shape == (2, spec.map_channels[stride], *expected)
    assert features.grid == spec.grid == expected
    assert features.prefix.shape == (2, 0, channels[-1])
    last = features.maps[strides[-1]]
    for row in range(expected[0]):
        for column in range(expected[1]):
            assert torch.equal(last[:, :, row, column], features.tokens[:, row * expected[1] + column])


def test_the_pool_stem_pools_before_its_norm(randomise):
    """The largest of four is taken before a norm that may turn the sign."""
    backbone = randomise(create_backbone(ResNetConfig(width=5, depths=(1,), stem="pool"), image_size=(11, 8))).eval()
    images = torch.randn(3, 3, 11, 8)
    maps = torch.conv2d(images, backbone.conv1.weight, padding=1).detach()
    expected = torch.zeros(3, 5, 6, 4)
    for row in range(6):
        for column in range(4):
            expected[:, :, row, column] = maps[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].amax((2, 3))
    assert (backbone.bn1.weight < 0).any()
    expected = backbone.bn1(expected).clamp(min=0)
    torch.testing.assert_close(backbone.embed(images).x, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("stem", ["small", "pool", "imagenet"])
def test_images_smaller_than_the_last_stride_are_refused(stem):
    config = ResNetConfig(stem=stem)
    least = {"small": 8, "pool": 16, "imagenet": 32}[stem]
    create_backbone(config, image_size=(least, 40))
    with pytest.raises(ValueError, match=f"40x{least - 1} pixels are smaller than the stride {least}"):
        create_backbone(config, image_size=(40, least - 1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depths": ()}, r"depths must be at least 1 long, given \(\)"),
        ({"depths": (2, 0)}, "depths.1 must be at least 1, given 0"),
        ({"width": 0}, "width must be at least 1, given 0"),
        ({"block": "bottleneck", "width": 32}, "width of 64, given 32"),
        ({"num_heads": 8}, "num_heads 8 has no effect without attention_stages or attention_after"),
        ({"num_heads": 0, "attention_after": (1,)}, "num_heads must be at least 1, given 0"),
        ({"attention_stages": (4,)}, "attention_stages needs block 'bottleneck', given 'basic'"),
        ({"block": "bottleneck", "attention_stages": (5,)}, r"attention_stages must name stages of 1 .. 4, .* \(5,\)"),
        ({"attention_after": (0,)}, r"attention_after must name stages of 1 .. 4, each once, given \(0,\)"),
        ({"attention_after": (2, 2)}, r"each once, given \(2, 2\)"),
        ({"width": 6, "attention_after": (1,)}, "6 channels in stage 1 cannot be split over 4 heads"),
        (
            {"block": "bottleneck", "attention_stages": (1, 2), "num_heads": 48},
            "64 channels in stage 1 cannot be split over 48 heads",
        ),
    ],
)
def test_configurations_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        ResNetConfig(**fields)


def test_images_with_other_channels_are_refused():
    with pytest.raises(ValueError, match=r"expected images \[b, 1, h, w\], given \[2, 3, 8, 8\]"):
        create_backbone(ResNetConfig(width=4), image_size=8, in_channels=1)(torch.randn(2, 3, 8, 8))


ATTENTION = {
    "none": ResNetConfig(width=4, depths=(1, 2, 1)),
    "botnet": ResNetConfig(block="bottleneck", depths=(1, 2), attention_stages=(1, 2), num_heads=2),
    "after": ResNetConfig(width=4, depths=(1, 1, 1), attention_after=(1, 3), num_heads=2),
    "both": ResNetConfig(
        block="bottleneck", depths=(1, 1), stem="imagenet", attention_stages=(2,), attention_after=(1,)
    ),
}


@pytest.mark.parametrize(("size", "in_channels"), [((8, 24), 3), ((11, 17), 1)])
@pytest.mark.parametrize("name", ATTENTION)
def test_keeps_the_contract(check_contract, name, size, in_channels, randomise):
    backbone = randomise(ResNet(ATTENTION[name], size, in_channels), scale=0.1)
    assert len(backbone.layer_features(torch.randn(2, in_channels, *size))) == len(ATTENTION[name].depths)
    check_contract(backbone, size)


def test_botnet50_has_the_published_size():
    """20.8 million parameters (arXiv 2101.11605); a ResNet-50 less three 3x3 convolutions."""
    config = ResNetConfig(block="bottleneck", depths=(3, 4, 6, 3), stem="imagenet", attention_stages=(4,))
    with torch.device("meta"):
        count = sum(p.numel() for p in create_model(config, image_size=224).parameters())
    tables = 2 * (2 * 14 - 1) * 128 + 2 * 2 * (2 * 7 - 1) * 128  # the first block attends before its pool
    assert count == 25_557_032 - 3 * 9 * 512**2 + 3 * 3 * 512**2 + tables
    assert abs(count - 20.8e6) < 0.1e6


def test_attention_stages_equal_a_bottleneck_written_out(randomise):
    backbone = ResNet(ATTENTION["botnet"], (10, 13), 3).eval()
    randomise(backbone, scale=0.1)
    features = backbone(torch.randn(2, 3, 10, 13))
    block = backbone.layer2[0]
    x = features.maps[1]
    y = block.conv2[0](block.bn1(block.conv1(x)).relu())
    assert y.shape == (2, 128, 10, 13)  # attention at full size
    pooled = torch.empty(2, 128, 5, 7)
    for row in range(5):
        for column in range(7):  # the last column of cells stands alone
            pooled[:, :, row, column] = y[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].mean((2, 3))
    y = block.bn3(block.conv3(block.bn2(pooled).relu())) + block.downsample(x)
    torch.testing.assert_close(features.maps[2], backbone.layer2[1](y.relu()), rtol=1e-4, atol=1e-5)


def test_attention_after_a_stage_starts_as_nothing():
    """The other parameters keep their names, so a plain network's weights fit and give its features."""
    config = ResNetConfig(width=4, depths=(1, 1))
    plain = ResNet(config, (9, 14), 2).eval()
    gated = ResNet(ResNetConfig(width=4, depths=(1, 1), attention_after=(1, 2)), (9, 14), 2).eval()
    missing, unexpected = gated.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"attention1", "attention2"}
    images = torch.randn(2, 2, 9, 14)
    torch.testing.assert_close(gated(images).tokens, plain(images).tokens)
    torch.nn.init.ones_(gated.attention2.gate)
    stage = gated.layer2(gated(images).maps[1])
    torch.testing.assert_close(gated(images).maps[2], gated.attention2(stage))
    assert not torch.allclose(gated(images).tokens, plain(images).tokens)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_checkpointing_counts_every_batch_once(momentum):
    """The second forward pass of checkpointing must not move the running statistics again."""
    plain, frugal = (create_backbone(ResNetConfig(depths=(1, 2), width=5), 16) for _ in range(2))
    frugal.load_state_dict(plain.state_dict())
    frugal.set_grad_checkpointing()
    for backbone in (plain, frugal):
        norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = momentum
    for _ in range(2):
        images = torch.randn(4, 3, 16, 16)
        for backbone in (plain, frugal):
            backbone(images).tokens.square().sum().backward()
    moved = [name for name, buffer in plain.named_buffers() if not torch.equal(buffer, torch.zeros_like(buffer))]
    assert len(moved) == 3 * len(norms)
    for (name, expected), (_, found) in zip(plain.named_buffers(), frugal.named_buffers(), strict=True):
        assert torch.equal(found, expected), name
    assert all(module.momentum == momentum for module in frugal.modules() if isinstance(module, nn.BatchNorm2d))
