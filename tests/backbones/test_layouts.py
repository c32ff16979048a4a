"""Weights under the names of the authors of CCT and T2T-ViT, and of torchvision, a layer or a backbone alone.

The authors' models are written out here as functions of their state dicts, in float64.
"""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torchvision import models

import hybridvit as hv
from hybridvit.backbones import TorchvisionConfig
from hybridvit.backbones.variants import VARIANTS
from hybridvit.backbones.weights import load_weights

DIM, HEADS, CLASSES = 20, 4, 7


def layer(state, name, x):
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def norm(state, name, x):
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)


def attention(state, name, x, scale=None):
    q, k, v = layer(state, f"{name}.qkv", x).reshape(len(x), -1, 3, HEADS, DIM // HEADS).permute(2, 0, 3, 1, 4)
    weights = torch.einsum("bhid,bhjd->bhij", q, k) * (scale or (DIM // HEADS) ** -0.5)
    mixed = torch.einsum("bhij,bhjd->bihd", weights.softmax(dim=3), v)
    return layer(state, f"{name}.proj", mixed.reshape(x.shape))


def sines(tokens, dim):
    """One fixed vector for each token, channel by channel."""
    table = torch.zeros(tokens, dim, dtype=torch.float64)
    for channel in range(dim):
        angle = torch.arange(tokens, dtype=torch.float64) / 10000 ** (2 * (channel // 2) / dim)
        table[:, channel] = angle.cos() if channel % 2 else angle.sin()
    return table


def cct(state, images, pool, stride, padding):
    x = images
    count = sum(name.startswith("tokenizer.conv_layers") and name.endswith("weight") for name in state)
    for index in range(count):
        name = f"tokenizer.conv_layers.{index}.0"
        x = F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride=stride, padding=padding)
        if pool:
            x = F.max_pool2d(x.relu(), 3, stride=2, padding=1)
    x = x.flatten(2).transpose(1, 2)
    if "classifier.class_emb" in state:
        x = torch.cat([state["classifier.class_emb"].expand(len(x), -1, -1), x], dim=1)
    x = x + state["classifier.positional_emb"]
    for index in range(2):
        block = f"classifier.blocks.{index}"
        x = x + attention(state, f"{block}.self_attn", norm(state, f"{block}.pre_norm", x))
        x = norm(state, f"{block}.norm1", x)
        x = x + layer(state, f"{block}.linear2", F.gelu(layer(state, f"{block}.linear1", x)))
    x = norm(state, "classifier.norm", x)
    if "classifier.class_emb" in state:
        return layer(state, "classifier.fc", x[:, 0])
    share = layer(state, "classifier.attention_pool", x).softmax(dim=1)
    return layer(state, "classifier.fc", (share * x).sum(dim=1))


def performer(state, name, x):
    k, q, v = layer(state, f"{name}.kqv", norm(state, f"{name}.norm1", x)).chunk(3, dim=-1)
    w = state[f"{name}.w"]
    q, k = (torch.exp(x @ w.T - 0.5 * (x**2).sum(-1, keepdim=True)) / len(w) ** 0.5 for x in (q, k))
    kernel = torch.einsum("bim,bjm->bij", q, k)
    y = v + layer(state, f"{name}.proj", kernel @ v / (kernel.sum(dim=2, keepdim=True) + 1e-8))
    hidden = F.gelu(layer(state, f"{name}.mlp.0", norm(state, f"{name}.norm2", y)))
    return y + layer(state, f"{name}.mlp.2", hidden)


def transformer(state, name, x):
    q, k, v = layer(state, f"{name}.attn.qkv", norm(state, f"{name}.norm1", x)).chunk(3, dim=-1)
    weights = (q @ k.transpose(1, 2) / x.shape[-1] ** 0.5).softmax(dim=-1)
    y = v + layer(state, f"{name}.attn.proj", weights @ v)
    hidden = F.gelu(layer(state, f"{name}.mlp.fc1", norm(state, f"{name}.norm2", y)))
    return y + layer(state, f"{name}.mlp.fc2", hidden)


def t2t(state, images, scale):
    x = images
    for index, (side, stride, padding) in enumerate([(7, 4, 2), (3, 2, 1), (3, 2, 1)], start=1):
        grid = [(pixels + 2 * padding - side) // stride + 1 for pixels in x.shape[-2:]]
        x = F.unfold(x, side, stride=stride, padding=padding).transpose(1, 2)
        if index < 3:
            name = f"tokens_to_token.attention{index}"
            x = (performer if f"{name}.w" in state else transformer)(state, name, x)
            x = x.transpose(1, 2).unflatten(2, grid)
    x = torch.cat([state["cls_token"].expand(len(x), -1, -1), layer(state, "tokens_to_token.project", x)], dim=1)
    x = x + state["pos_embed"]
    for index in range(2):
        block = f"blocks.{index}"
        x = x + attention(state, f"{block}.attn", norm(state, f"{block}.norm1", x), scale)
        hidden = F.gelu(layer(state, f"{block}.mlp.fc1", norm(state, f"{block}.norm2", x)))
        x = x + layer(state, f"{block}.mlp.fc2", hidden)
    return layer(state, "head", norm(state, "norm", x)[:, 0])


def drawn(shapes):
    state = {name: 0.3 * torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    return {name: tensor + ("norm" in name and name.endswith("weight")) for name, tensor in state.items()}


def linear(name, out, of, bias=True):
    return {f"{name}.weight": (out, of)} | ({f"{name}.bias": (out,)} if bias else {})


def norms(*names, dim=DIM):
    return {f"{name}.{part}": (dim,) for name in names for part in ("weight", "bias")}


def cct_state(channels, kernel, tokens, bias, class_token, hidden=None):
    shapes, widths = {}, [channels, *([hidden] if hidden else []), DIM]
    for index, (of, out) in enumerate(pairwise(widths)):
        shapes[f"tokenizer.conv_layers.{index}.0.weight"] = (out, of, kernel, kernel)
        if bias:
            shapes[f"tokenizer.conv_layers.{index}.0.bias"] = (out,)
    shapes["classifier.positional_emb"] = (1, tokens + class_token, DIM)
    if class_token:
        shapes["classifier.class_emb"] = (1, 1, DIM)
    else:
        shapes |= linear("classifier.attention_pool", 1, DIM)
    for index in range(2):
        block = f"classifier.blocks.{index}"
        shapes |= linear(f"{block}.self_attn.qkv", 3 * DIM, DIM, bias=False)
        shapes |= linear(f"{block}.self_attn.proj", DIM, DIM) | norms(f"{block}.pre_norm", f"{block}.norm1")
        shapes |= linear(f"{block}.linear1", 2 * DIM, DIM) | linear(f"{block}.linear2", DIM, 2 * DIM)
    return drawn(shapes | norms("classifier.norm") | linear("classifier.fc", CLASSES, DIM))


def check_same_logits(config, state, expected, images):
    size, channels = tuple(images.shape[2:]), images.shape[1]
    model = hv.create_model(config, num_classes=CLASSES, image_size=size, in_channels=channels).double().eval()
    report = load_weights(model, state)
    assert report.complete
    logits = model(images)
    assert expected.std() > 0.1
    assert (logits - expected).abs().max() < 1e-5 * expected.abs().max()
    return report


SMALL = {"embed_dim": DIM, "depth": 2, "num_heads": HEADS, "mlp_ratio": 2.0}


@pytest.mark.parametrize("positions", ["learned", "sincos1d"])
@pytest.mark.parametrize(
    ("name", "kernel", "stride", "hidden", "tokens"), [("cct_7_3x1", 3, 1, None, 30), ("cct_7_7x2", 7, 2, 64, 2)]
)
def test_cct(name, kernel, stride, hidden, tokens, positions):
    state = cct_state(2, kernel, tokens, bias=False, class_token=False, hidden=hidden)
    if positions == "sincos1d":
        state["classifier.positional_emb"] = sines(tokens, DIM)[None]
    images = torch.randn(2, 2, 10, 12 if hidden is None else 20, dtype=torch.float64)
    if hidden:
        state = {key: tensor * (0.3 if "conv_layers" in key else 1) for key, tensor in state.items()}
    expected = cct(state, images, pool=True, stride=stride, padding=kernel // 2)
    report = check_same_logits(replace(VARIANTS[name].config, **SMALL, position=positions), state, expected, images)
    assert set(report.left_out) == ({"pos_embed"} if positions == "sincos1d" else set())


@pytest.mark.parametrize(("name", "class_token"), [("cvt_7_4", False), ("vit_lite_7_4", True)])
def test_cvt_and_vit_lite(name, class_token):
    state = cct_state(3, 4, 15, bias=True, class_token=class_token)
    images = torch.randn(2, 3, 12, 20, dtype=torch.float64)
    expected = cct(state, images, pool=False, stride=4, padding=0)
    check_same_logits(replace(VARIANTS[name].config, **SMALL), state, expected, images)


@pytest.mark.parametrize("inner", ["performer", "transformer"])
@pytest.mark.parametrize("scale", [None, DIM**-0.5])
def test_t2t(inner, scale):
    token, shapes = 6, {}
    for index, width in ((1, 3 * 49), (2, 9 * token)):
        name = f"tokens_to_token.attention{index}"
        shapes |= norms(f"{name}.norm1", dim=width) | norms(f"{name}.norm2", dim=token)
        mlp = ("mlp.0", "mlp.2") if inner == "performer" else ("mlp.fc1", "mlp.fc2")
        shapes |= linear(f"{name}.{mlp[0]}", token, token) | linear(f"{name}.{mlp[1]}", token, token)
        if inner == "performer":
            shapes |= linear(f"{name}.kqv", 3 * token, width) | linear(f"{name}.proj", token, token)
            shapes[f"{name}.w"] = (token // 2, token)
        else:
            shapes |= linear(f"{name}.attn.qkv", 3 * token, width, bias=False)
            shapes |= linear(f"{name}.attn.proj", token, token)
    shapes |= linear("tokens_to_token.project", DIM, 9 * token) | {"cls_token": (1, 1, DIM)} | norms("norm")
    for index in range(2):
        block = f"blocks.{index}"
        shapes |= linear(f"{block}.attn.qkv", 3 * DIM, DIM, bias=False) | linear(f"{block}.attn.proj", DIM, DIM)
        shapes |= linear(f"{block}.mlp.fc1", 2 * DIM, DIM) | linear(f"{block}.mlp.fc2", DIM, 2 * DIM)
        shapes |= norms(f"{block}.norm1", f"{block}.norm2")
    state = drawn(shapes | linear("head", CLASSES, DIM)) | {"pos_embed": sines(7, DIM)[None]}
    images = torch.randn(2, 3, 32, 48, dtype=torch.float64)
    tokenizer = hv.T2TConfig(token_dim=token, inner=inner)
    config = replace(VARIANTS["t2t_vit_7"].config, **SMALL, qk_scale=scale, tokenizer=tokenizer)
    report = check_same_logits(config, state, t2t(state, images, scale), images)
    assert set(report.left_out) == {"pos_embed"}


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet_b0"])
def test_torchvision(name):
    torchvision = TorchvisionConfig(name=name, stem="imagenet") if name != "resnet18" else None
    theirs = getattr(models, name)(num_classes=CLASSES).eval()
    with torch.no_grad():
        for tensor in theirs.state_dict().values():
            if tensor.ndim == 1:  # norms and biases, which start as nothing
                tensor += 0.1 * torch.rand_like(tensor)
    ours = hv.create_model(torchvision or hv.ResNetConfig(stem="imagenet"), CLASSES, (64, 96)).eval()
    report = load_weights(ours, theirs.state_dict())
    assert report.complete
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-6)


def test_a_backbone_alone():
    published = models.resnet18(num_classes=CLASSES)
    backbone = hv.create_backbone(hv.ResNetConfig(stem="imagenet"), (64, 32))
    report = load_weights(backbone, published.state_dict())
    assert report.complete
    assert report.left_out == dict.fromkeys(["head.fc.weight", "head.fc.bias"], "a backbone has no head")
    assert all(torch.equal(tensor, published.state_dict()[name]) for name, tensor in backbone.state_dict().items())


def test_a_layer_alone():
    convit = pytest.importorskip("timm.models.convit")
    theirs, ours = convit.GPSA(12, num_heads=4, locality_strength=0.7), hv.layers.GPSA(12, 4, qkv_bias=False)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.5)
    report = load_weights(ours, theirs.state_dict())
    assert report.complete
    assert list(report.left_out) == ["pos_proj.bias"]
    x = torch.randn(2, 25, 12)
    torch.testing.assert_close(ours(x, (5, 5)), theirs(x), rtol=1e-5, atol=1e-6)
