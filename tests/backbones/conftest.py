"""What every backbone must keep to, as one check."""

import pytest
import torch


def gradients(backbone, images, checkpointing):
    backbone.set_grad_checkpointing(checkpointing)
    backbone.zero_grad()
    torch.manual_seed(1)
    features = backbone(images)
    weights = torch.linspace(-1, 1, features.tokens.numel()).view_as(features.tokens)
    ((features.tokens * weights).sum() + (features.prefix**2).sum()).backward()
    return {name: parameter.grad for name, parameter in backbone.named_parameters()}


def check_shapes(backbone, images):
    spec = backbone.spec
    features = backbone(images)
    rows, columns = spec.grid
    assert features.grid == spec.grid
    assert features.tokens.shape == (len(images), rows * columns, spec.embed_dim)
    assert features.prefix.shape == (len(images), spec.prefix_tokens, spec.embed_dim)
    assert {stride: x.shape[1] for stride, x in features.maps.items()} == spec.map_channels
    last = features.maps[max(features.maps)]
    torch.testing.assert_close(last.flatten(2).transpose(1, 2), features.tokens)
    return features


def check_layers(backbone, images, features, normed=True):
    """``normed``: the last layer gives the tokens of ``forward``, once put through the final norm."""
    count = len(backbone.layer_features(images))
    results = backbone.get_intermediate_layers(images, list(range(count)), return_prefix_tokens=True)
    assert len(results) == count
    if normed:
        torch.testing.assert_close(results[-1][0], features.tokens, rtol=1e-4, atol=1e-5)
    maps = backbone.get_intermediate_layers(images, 1, reshape=True)
    assert maps[0].shape[-2:] == features.grid
    torch.testing.assert_close(maps[0].flatten(2).transpose(1, 2), results[-1][0])


def check_parameter_layers(backbone):
    layers = backbone.parameter_layers()
    owners = {name: [] for name, _ in backbone.named_parameters()}
    for index, prefixes in enumerate(layers):
        for name in owners:
            if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes):
                owners[name].append(index)
    assert all(len(found) == 1 for found in owners.values())
    assert {found[0] for found in owners.values()} == set(range(len(layers)))
    first = next(name for name, p in backbone.named_parameters() if p.ndim == 4)
    assert owners[first] == [0]  # the first convolution sees the images


def check_checkpointing(backbone, images):
    expected = gradients(backbone, images, checkpointing=False)
    found = gradients(backbone, images, checkpointing=True)
    backbone.set_grad_checkpointing(False)
    assert all(gradient is not None for gradient in expected.values())
    assert any(gradient.abs().max() > 0 for gradient in expected.values())
    for name, gradient in expected.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-5 * scale + 1e-12, msg=name)


@pytest.fixture
def check_contract():
    """Checks shapes, layers, their parameters, and the gradients with checkpointing in training mode."""

    def check_all(backbone, image_size, images=2, normed=True):
        pixels = torch.randn(images, backbone.in_channels, *image_size)
        backbone.eval()
        with torch.no_grad():
            features = check_shapes(backbone, pixels)
            check_layers(backbone, pixels, features, normed)
        check_parameter_layers(backbone)
        check_checkpointing(backbone.train(), pixels)

    return check_all
