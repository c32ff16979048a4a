"""torchvision's trunks against torchvision, with its stem and the small one."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

from hybridvit.backbones.torchvision_cnn import TorchvisionCNN, TorchvisionConfig

NAMES = ("alexnet", "vgg11_bn", "vgg16_bn", "densenet121", "efficientnet_b0")
SMALLEST = {  # pixels a side, by stem; EfficientNet pads and takes any image
    ("alexnet", "imagenet"): 63,
    ("alexnet", "small"): 15,
    ("vgg11_bn", "imagenet"): 32,
    ("vgg16_bn", "imagenet"): 32,
    ("densenet121", "imagenet"): 29,
    ("densenet121", "small"): 8,
}
TRUNK_PARAMETERS = {  # torchvision's published size less its classifier
    "alexnet": 61_100_840 - 58_631_144,
    "vgg11_bn": 132_868_840 - 123_642_856,
    "vgg16_bn": 138_365_992 - 123_642_856,
    "densenet121": 7_978_856 - 1_025_000,
    "efficientnet_b0": 5_288_548 - 1_281_000,
}


def torchvision_trunk(name):
    """torchvision's features with values, without allocating its classifier."""
    with torch.device("meta"):
        trunk = getattr(models, name)(weights=None).features
    trunk.to_empty(device="cpu")
    for module in trunk.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.reset_parameters()
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
    return trunk


@pytest.mark.parametrize("name", [name for name in NAMES if name != "vgg16_bn"])
def test_equals_torchvision_with_the_same_weights(name):
    size = (64, 72)
    theirs = torchvision_trunk(name).eval()
    ours = TorchvisionCNN(TorchvisionConfig(name=name, stem="imagenet"), size, 3).eval()
    ours.load_state_dict({f"features.{key}": value for key, value in theirs.state_dict().items()})
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = theirs(images)
        if name == "densenet121":
            expected = F.relu(expected)
        features = ours(images)
    assert expected.std() > 1e-4
    assert torch.equal(features.tokens, expected.flatten(2).transpose(1, 2))
    assert features.grid == ours.spec.grid == expected.shape[-2:]


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_is_torchvisions_and_the_size_as_published(name):
    with torch.device("meta"):
        theirs = getattr(models, name)(weights=None).state_dict()
        ours = TorchvisionCNN(TorchvisionConfig(name=name), (224, 224), 3)
    shapes = {key: value.shape for key, value in theirs.items() if key.startswith("features.")}
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes
    assert sum(p.numel() for p in ours.parameters()) == TRUNK_PARAMETERS[name]


@pytest.mark.parametrize("name", ["alexnet", "densenet121", "efficientnet_b0"])
def test_small_stem_is_torchvision_with_another_beginning(name):
    ours = TorchvisionCNN(TorchvisionConfig(name=name, stem="small"), (32, 40), 2).eval()
    theirs = torchvision_trunk(name).eval()
    first = theirs.conv0 if name == "densenet121" else theirs[0] if name == "alexnet" else theirs[0][0]
    first.stride, first.padding = (1, 1), (1, 1)
    first.weight = nn.Parameter(torch.empty(first.out_channels, 2, 3, 3))
    if name == "densenet121":
        theirs.pool0 = nn.Identity()
    theirs.load_state_dict({key.removeprefix("features."): value for key, value in ours.state_dict().items()})
    images = torch.randn(1, 2, 32, 40)
    with torch.no_grad():
        expected, features = theirs(images), ours(images)
    expected = F.relu(expected) if name == "densenet121" else expected
    torch.testing.assert_close(features.tokens, expected.flatten(2).transpose(1, 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "stem", "in_channels", "size", "grid", "channels"),
    [
        ("alexnet", "imagenet", 1, (64, 96), (1, 2), {4: 64, 8: 192, 16: 256, 32: 256}),
        ("alexnet", "small", 13, (32, 64), (3, 7), {1: 64, 2: 192, 4: 256, 8: 256}),
        ("vgg11_bn", "imagenet", 13, (32, 64), (1, 2), {1: 64, 2: 128, 4: 256, 8: 512, 16: 512, 32: 512}),
        ("densenet121", "imagenet", 13, (64, 33), (2, 1), {2: 64, 4: 256, 8: 512, 16: 1024, 32: 1024}),
        ("efficientnet_b0", "imagenet", 13, (64, 32), (2, 1), {2: 16, 4: 24, 8: 40, 16: 112, 32: 1280}),
        ("efficientnet_b0", "small", 1, (33, 64), (3, 4), {1: 16, 2: 24, 4: 40, 8: 112, 16: 1280}),
    ],
)
def test_shapes_are_declared_before_an_image(name, stem, in_channels, size, grid, channels):
    backbone = TorchvisionCNN(TorchvisionConfig(name=name, stem=stem), size, in_channels).eval().to("meta")
    assert (backbone.spec.grid, backbone.spec.map_channels, backbone.spec.pooling) == (grid, channels, "mean")
    features = backbone(torch.empty(2, in_channels, *size, device="meta"))
    assert features.grid == grid
    assert features.tokens.shape == (2, grid[0] * grid[1], backbone.spec.embed_dim)
    for stride, count in channels.items():
        rows, columns = features.maps[stride].shape[-2:]
        assert features.maps[stride].shape[1] == count
        assert abs(rows - size[0] / stride) < 2
        assert abs(columns - size[1] / stride) < 2


@pytest.mark.parametrize(
    ("name", "stem", "size"),
    [
        ("alexnet", "small", (24, 32)),
        ("vgg11_bn", "imagenet", (32, 64)),
        ("densenet121", "small", (8, 16)),
        ("efficientnet_b0", "small", (32, 20)),
    ],
)
def test_keeps_the_contract(check_contract, name, stem, size):
    check_contract(TorchvisionCNN(TorchvisionConfig(name=name, stem=stem), size, 2), size)


@pytest.mark.parametrize("name", ["densenet121", "efficientnet_b0"])
def test_starts_as_torchvision_does(name):
    """The spread of every convolution's weights, against a model torchvision has built itself."""
    theirs = getattr(models, name)(weights=None)
    ours = TorchvisionCNN(TorchvisionConfig(name=name), (32, 32), 3)
    expected = dict(theirs.features.named_parameters())
    for key, value in ours.features.named_parameters():
        if value.ndim == 4 and value.numel() > 5000:
            assert abs(value.std() / expected[key].std() - 1) < 0.1
        elif value.ndim == 1:
            assert torch.equal(value, expected[key])


@pytest.mark.parametrize(("name", "stem"), SMALLEST)
def test_images_too_small_for_the_trunk_are_refused(name, stem):
    least = SMALLEST[name, stem]
    config = TorchvisionConfig(name=name, stem=stem)
    with torch.device("meta"):
        assert TorchvisionCNN(config, (least, least + 5), 1).spec.grid == (1, 1)
        with pytest.raises(ValueError, match=f"40x{least - 1} pixels are too small for {name}") as error:
            TorchvisionCNN(config, (40, least - 1), 1)
    assert f"needs {least} pixels a side" in str(error.value)
    assert ("small stem" in str(error.value).split("side")[1]) == (stem == "imagenet" and "vgg" not in name)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "vgg16_bn", "stem": "small"}, "'small' has no effect on vgg16_bn"),
        ({"name": "lenet"}, "name must be alexnet, .*, given 'lenet'"),
        ({"stem": "tiny"}, "stem must be auto, small or imagenet, given 'tiny'"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TorchvisionConfig(**fields)


def test_images_with_other_channels_are_refused():
    backbone = TorchvisionCNN(TorchvisionConfig(name="alexnet", stem="small"), (32, 32), 1)
    with pytest.raises(ValueError, match=r"expected images \[b, 1, h, w\], given \[2, 3, 32, 32\]"):
        backbone(torch.randn(2, 3, 32, 32))
