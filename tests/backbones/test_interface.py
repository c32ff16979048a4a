"""What every model offers beyond its logits: features, layers, other heads, other dtypes, compilation and export."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

import hybridvit as hv
from hybridvit.backbones import ResNetConfig, ShiftedPatchConfig, WideResNetConfig
from hybridvit.backbones.variants import VARIANTS
from hybridvit.backbones.weights import load_weights
from hybridvit.models import create_model

TINY = {"embed_dim": 24, "depth": 2, "num_heads": 4, "mlp_ratio": 2.0}
VIT = hv.ViTConfig(**TINY, tokenizer=hv.PatchConfig(patch_size=4))
CONVIT = replace(VIT, attention=("gpsa", "mhsa"), class_token_layer=1, qkv_bias=False)


def narrow(name, **changes):
    return replace(VARIANTS[name].config, **TINY, **changes)


# One model of every family, and images of a few tokens.
FAMILIES = {
    "vit": (VIT, (12, 20)),
    "distilled": (replace(VIT, distilled=True), (12, 20)),
    "cait": (narrow("cait_xxs24", tokenizer=VIT.tokenizer, layer_scale=0.5), (12, 20)),
    "t2t": (narrow("t2t_vit_7", tokenizer=hv.T2TConfig(token_dim=6)), (32, 48)),
    "convit, few tokens": (CONVIT, (12, 20)),
    "convit, 70 tokens": (CONVIT, (28, 40)),
    "cct": (narrow("cct_7_3x1"), (10, 14)),
    "hybrid_r": (narrow("hybrid_r_tiny"), (32, 64)),
    "hybrid_resnet18": (
        narrow("hybrid_resnet18_tiny", tokenizer=hv.StagesConfig(cnn=ResNetConfig(depths=(1, 1), width=8))),
        (6, 10),
    ),
    "dhvt_style": (narrow("dhvt_style_tiny", tokenizer=hv.ConvConfig(channels=(6, 12), strides=(2, 2))), (12, 20)),
    "relative": (replace(VIT, position="relative"), (12, 20)),
    "beside": (replace(VIT, position="sincos2d", position_dim=8), (12, 20)),
    "lsa": (replace(VIT, attention=("lsa",), tokenizer=ShiftedPatchConfig(patch_size=4)), (12, 20)),
    "resnet": (ResNetConfig(depths=(1, 1), width=8), (10, 14)),
    "resnet_attention": (ResNetConfig(depths=(1, 1), width=8, attention_after=(1,)), (10, 14)),
    "botnet": (ResNetConfig(block="bottleneck", depths=(1, 1), attention_stages=(2,)), (10, 14)),
    "wide_resnet": (WideResNetConfig(depth=10, width_factor=1), (8, 12)),
}
TRANSFORMERS = [name for name, (config, _) in FAMILIES.items() if isinstance(config, hv.ViTConfig)]


def model_and_images(family, images=3, **changes):
    config, size = FAMILIES[family]
    model = create_model(replace(config, **changes), num_classes=7, image_size=size)
    return model.eval(), torch.randn(images, 3, *size)


@pytest.mark.parametrize("family", FAMILIES)
def test_features_and_head_are_the_model(family):
    model, images = model_and_images(family)
    features = model.forward_features(images)
    logits = model(images)
    assert torch.equal(model.forward_head(features), logits)
    before = model.forward_head(features, pre_logits=True)
    assert before.shape == (3, model.backbone.spec.embed_dim)
    head = model.get_classifier()
    if head.fc_dist is None:
        torch.testing.assert_close(head.fc(before), logits)
    else:
        assert torch.equal(before, features.prefix.mean(dim=1))
        torch.testing.assert_close(sum(head.both(features)) / 2, logits)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("family", ["distilled", "cct", "resnet"])
def test_reset_classifier(family, training):
    model, images = model_and_images(family)
    model = model.to(torch.float64).train(training)
    old, backbone = model.head, {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}
    model.reset_classifier(11)
    assert model.get_classifier() is model.head
    assert model.head is not old
    assert model.num_classes == model.head.fc.out_features == 11
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert {module.training for module in model.modules()} == {training}
    assert all(torch.equal(tensor, backbone[name]) for name, tensor in model.backbone.state_dict().items())
    assert model(images.double()).shape == (3, 11)
    meta = model.to("meta")
    meta.reset_classifier(5)
    assert {p.device.type for p in meta.parameters()} == {"meta"}
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        model.reset_classifier(0)


def test_intermediate_layers_are_timms():
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("vit_tiny_patch16_224", img_size=(32, 48), num_classes=7).eval()
    nn.init.uniform_(theirs.norm.weight, 0.5, 1.5)
    ours = create_model("vit_tiny_16", num_classes=7, image_size=(32, 48)).eval()
    load_weights(ours, theirs.state_dict())
    images = torch.randn(2, 3, 32, 48)
    for options in (
        {"n": 3},
        {"n": [0, 5, 11], "norm": False},
        {"n": [2, 7], "reshape": True},
        {"n": 2, "reshape": True, "return_prefix_tokens": True, "norm": True},
    ):
        expected = theirs.get_intermediate_layers(images, **{"norm": True} | options)
        found = ours.get_intermediate_layers(images, **options)
        assert len(found) == len(expected)
        torch.testing.assert_close(list(found), list(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_intermediate_layers_are_what_the_blocks_give(family):
    model, images = model_and_images(family)
    record = []
    for block in model.backbone.blocks:
        block.register_forward_hook(lambda module, inputs, output: record.append(output))
    model(images)
    rows, columns = model.backbone.spec.grid
    entered = [x.shape[1] - rows * columns for x in record]
    found = model.get_intermediate_layers(images, [0, 1], norm=False, return_prefix_tokens=True)
    for (tokens, prefix), x, count in zip(found, record[:2], entered, strict=True):
        assert torch.equal(torch.cat([prefix, tokens], dim=1), x)
        assert prefix.shape[1] == count
    maps = model.get_intermediate_layers(images, 2, norm=False, reshape=True)
    for x, (tokens, _) in zip(maps, found, strict=True):
        assert torch.equal(x[:, :, rows - 1, 1], tokens[:, (rows - 1) * columns + 1])
        assert x.shape[2:] == (rows, columns)
    last = model.get_intermediate_layers(images)[0]
    assert torch.equal(last, model.backbone.norm(found[1][0]))


@pytest.mark.parametrize("n", [0, -1, [2], [0, -3]])
def test_layers_that_are_not_there(n):
    model, images = model_and_images("vit")
    with pytest.raises(ValueError, match=r"has layers 0 .. 1, asked for"):
        model.get_intermediate_layers(images, n)


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_gives_the_same_gradients(family):
    dropped = {"drop_path": 0.3, "dropout": 0.3} if family in TRANSFORMERS else {}
    model, images = model_and_images(family, **dropped)
    statistics = copy.deepcopy(model.state_dict())

    def gradients(checkpointing):
        model.load_state_dict(statistics)
        model.set_grad_checkpointing(checkpointing)
        model.train().zero_grad()
        torch.manual_seed(3)  # dropped are the same paths, also when they are computed again
        (model(images) ** 2).sum().backward()
        return {name: p.grad for name, p in model.named_parameters()}

    plain, recomputed = gradients(False), gradients(True)
    assert max(gradient.abs().max() for gradient in plain.values()) > 1e-3
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_compiles_as_one_graph(family):
    model, images = model_and_images(family)
    for training, autocast in ((True, False), (True, True), (False, False), (False, True)):
        torch._dynamo.reset()
        compiled = torch.compile(model.train(training), fullgraph=True, backend="eager")
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            expected, found = model(images), compiled(images)
        assert found.dtype == (torch.bfloat16 if autocast else torch.float32)
        tolerance = 0.02 if autocast else 1e-5
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_exports_with_any_number_of_images(family):
    model, images = model_and_images(family)
    shapes = {"images": {0: torch.export.Dim("batch", min=2, max=64)}}
    exported = torch.export.export(model, (images,), dynamic_shapes=shapes).module()
    more = torch.randn(5, *images.shape[1:])
    torch.testing.assert_close(exported(more), model(more), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_other_layouts_and_dtypes(family):
    model, images = model_and_images(family)
    logits = model(images)
    scale = logits.abs().max()
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    found = last(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-5)
    for dtype, tolerance in ((torch.bfloat16, 0.05), (torch.float16, 0.006)):
        with torch.autocast("cpu", dtype):
            found = model(images)
        assert found.dtype == dtype
        assert (found - logits).abs().max() < tolerance * scale
        assert not torch.equal(found.float(), logits)
    found = copy.deepcopy(model).to(torch.bfloat16)(images.bfloat16())
    assert found.dtype == torch.bfloat16
    assert (found - logits).abs().max() < 0.06 * scale
