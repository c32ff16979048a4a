"""Published weights: the same logits and gradients as timm's models, and what is said when they do not fit."""

import argparse
import pickle
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import hybridvit as hv
from hybridvit.backbones.variants import VARIANTS
from hybridvit.backbones.weights import load_weights

timm = pytest.importorskip("timm")

# ours, timm's, height and width in pixels (timm's ConViT takes squares only), channels, blocks (None: all of them)
PAIRS = [
    ("vit_tiny_16", "vit_tiny_patch16_224", (48, 80), 3, None),
    ("vit_small_16", "vit_small_patch16_224", (32, 48), 1, 2),
    ("vit_base_16", "vit_base_patch16_224", (32, 48), 3, 2),
    ("deit_tiny", "deit_tiny_patch16_224", (80, 48), 2, None),
    ("deit_tiny_distilled", "deit_tiny_distilled_patch16_224", (48, 80), 3, None),
    ("deit_small_distilled", "deit_small_distilled_patch16_224", (48, 32), 3, 2),
    ("deit_base_distilled", "deit_base_distilled_patch16_224", (32, 32), 3, 2),
    ("cait_xxs24", "cait_xxs24_224", (48, 80), 3, None),
    ("cait_xs24", "cait_xs24_384", (48, 32), 3, 3),
    ("cait_s24", "cait_s24_224", (32, 48), 3, 3),
    ("convit_tiny", "convit_tiny", (80, 80), 3, None),
    ("convit_small", "convit_small", (48, 48), 5, 3),
    ("convit_base", "convit_base", (48, 48), 3, 3),
    ("hybrid_r_tiny", "vit_tiny_r_s16_p8_224", (96, 64), 3, None),
    ("hybrid_r26_small", "vit_small_r26_s32_224", (64, 96), 3, 2),
    ("hybrid_r50_base", "vit_base_r50_s16_224", (48, 32), 3, 1),
]


def randomised(model, seed=0):
    """All parameters and statistics moved away from their start, so that a lost or swapped one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape, generator=generator) * 0.05
    return model


def theirs_and_ours(name, timm_name, size, channels=3, depth=None, classes=7):
    extra, config = {"img_size": size[0] if "convit" in timm_name else size}, VARIANTS[name].config
    if depth and "convit" in name:  # the last block is the only one that is no GPSA
        extra |= {"depth": depth, "local_up_to_layer": depth - 1}
        kinds = ("gpsa",) * (depth - 1) + ("mhsa",)
        config = replace(config, depth=depth, attention=kinds, class_token_layer=depth - 1)
    elif depth:
        extra["depth"], config = depth, replace(config, depth=depth)
    theirs = randomised(timm.create_model(timm_name, num_classes=classes, in_chans=channels, **extra)).eval()
    return theirs, hv.create_model(config, num_classes=classes, image_size=size, in_channels=channels).eval()


def check_same_gradient(ours, theirs, name):
    assert torch.allclose(ours, theirs, atol=1e-8, rtol=1e-8), f"{name}: {(ours - theirs).abs().max():.2e}"


@pytest.mark.parametrize(("name", "timm_name", "size", "channels", "depth"), PAIRS)
def test_equal_to_timm(name, timm_name, size, channels, depth):
    theirs, ours = theirs_and_ours(name, timm_name, size, channels, depth)
    report = load_weights(ours, theirs.state_dict())
    assert report.complete
    images = torch.randn(3, channels, *size)
    with torch.no_grad():  # in float32, as they are used
        expected = theirs(images)
        assert (ours(images) - expected).abs().max() < 1e-5 * expected.abs().max().clamp(min=1)
    theirs, ours, images = theirs.double(), ours.double(), images.double()  # in float64 every host agrees on gradients
    load_weights(ours, theirs.state_dict())  # positions and prefix tokens are added up in float64 too
    images_theirs = images.clone().requires_grad_()
    images_ours = images.clone().requires_grad_()
    logits_theirs, logits_ours = theirs(images_theirs), ours(images_ours)
    scale = logits_theirs.abs().max().clamp(min=1)
    assert (logits_ours - logits_theirs).abs().max() < 1e-9 * scale
    labels = torch.tensor([0, 3, 6])
    torch.nn.functional.cross_entropy(logits_theirs, labels).backward()
    torch.nn.functional.cross_entropy(logits_ours, labels).backward()
    check_same_gradient(images_ours.grad, images_theirs.grad, "images")
    # The gradients of their weights, moved through the same conversion, are the gradients of ours.
    gradients = {key: value.grad for key, value in theirs.named_parameters() if value.grad is not None}
    own = {key: value.grad.clone() for key, value in ours.named_parameters()}
    if "pos_embed" in gradients:  # the first rows are folded into the prefix tokens: their gradient is the same
        prefix = gradients["pos_embed"].shape[1] - ours.backbone.position.embedding.shape[0]
        gradients["pos_embed"][:, :prefix] = 0
    load_weights(ours, gradients, strict=False)
    for key, moved in ours.named_parameters():
        check_same_gradient(own[key], moved.detach(), key)


TINY = hv.ViTConfig(embed_dim=12, depth=2, num_heads=3, mlp_ratio=2.0, tokenizer=hv.PatchConfig(patch_size=4))


def tiny(size=(12, 20), classes=5, seed=0, **changes):
    torch.manual_seed(seed)
    return hv.create_model(replace(TINY, **changes), num_classes=classes, image_size=size).eval()


def copy_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def check_equal(state, expected, but=()):
    assert state.keys() == expected.keys()
    assert [name for name in state if not torch.equal(state[name], expected[name])] == list(but)


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_files_that_are_no_checkpoints(tmp_path):
    model = tiny()
    before, made = copy_of(model), tmp_path / "made"
    whole = tmp_path / "whole.pt"
    torch.save(model.state_dict(), whole)
    save_file(model.state_dict(), tmp_path / "whole.safetensors")
    (tmp_path / "half.pt").write_bytes(whole.read_bytes()[:3000])
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:3000])
    (tmp_path / "nothing.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("weights")
    (tmp_path / "page.pt").write_text("hello, this file is elsewhere")
    torch.save({"model": model.state_dict(), "more": RunsCode(made)}, tmp_path / "code.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "code.pkl").write_bytes(pickle.dumps({"a": RunsCode(made)}, protocol=2))
    for name, message in (
        ("missing.pt", "there is no checkpoint file"),
        ("half.pt", "truncated or damaged"),
        ("half.safetensors", "truncated or damaged"),
        ("nothing.pt", "damaged"),
        ("text.pt", "no checkpoint, or damaged"),
        ("page.pt", "damaged"),
        ("code.pt", "could run code: refused"),
        ("code.pkl", "refused"),
        ("list.pt", "should hold a state dict, given list"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            load_weights(model, tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not made.exists()
    check_equal(model.state_dict(), before)


@pytest.mark.parametrize("container", [None, "model", "state_dict", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod."])
def test_containers_and_wrappers(tmp_path, container, prefix):
    source, model = tiny(seed=1), tiny(seed=2)
    content = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    if container:
        content = {"args": argparse.Namespace(lr=0.1), "epoch": 3, container: content}
        if container == "state_dict_ema":  # the averaged weights come first
            content["state_dict"] = tiny(seed=3).state_dict()
    torch.save(content, tmp_path / "checkpoint.pth")
    assert load_weights(model, str(tmp_path / "checkpoint.pth")).complete
    check_equal(model.state_dict(), source.state_dict())


def test_our_own_safetensors(tmp_path):
    source, model = tiny(seed=1), tiny(seed=2)
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    report = load_weights(model, tmp_path / "model.safetensors")
    assert str(report) == f"{len(source.state_dict())} tensors loaded"
    check_equal(model.state_dict(), source.state_dict())


def test_a_run_with_one_head():
    source, model = tiny(seed=1), tiny(seed=2)
    run = hv.HydraNet(source.backbone, {"label": source.head})
    assert "heads.label.fc.weight" in run.state_dict()
    assert load_weights(model, run.state_dict()).complete
    check_equal(model.state_dict(), source.state_dict())


def test_another_model_changes_nothing():
    with torch.device("meta"):
        published = timm.create_model("deit_small_patch16_224").to_empty(device="cpu").state_dict()
    model = hv.create_model("vit_tiny_16", num_classes=1000)
    before = copy_of(model)
    with pytest.raises(ValueError, match=r"does not fit the model: 151 of another shape") as caught:
        load_weights(model, published)
    assert "\n" not in str(caught.value)
    assert "backbone.prefix [1, 192] given [1, 384], backbone.tokenizer" in str(caught.value)
    check_equal(model.state_dict(), before)
    with pytest.raises(ValueError, match="unexpected"):
        load_weights(hv.create_model("resnet18", num_classes=10, image_size=32), published, strict=False)


def test_other_classes_keep_their_head():
    source, model = tiny(classes=11, seed=1), tiny(classes=5, seed=2)
    before = copy_of(model)
    with pytest.raises(ValueError, match="It has other classes: head=False keeps the model's own head"):
        load_weights(model, source.state_dict())
    check_equal(model.state_dict(), before)
    report = load_weights(model, source.state_dict(), head=False)
    assert report.complete
    assert set(report.left_out) == {"head.fc.weight", "head.fc.bias"}
    check_equal(copy_of(model.backbone), copy_of(source.backbone))
    check_equal(copy_of(model.head), {name.removeprefix("head."): before[name] for name in before if "head." in name})


def test_not_strict_loads_what_fits_and_says_what_does_not():
    source, model = tiny(seed=1), tiny(seed=2)
    state, before = copy_of(source), copy_of(model)
    del state["backbone.norm.bias"]
    state["head.fc.bias"], state["backbone.extra"] = torch.zeros(9), torch.zeros(1)
    report = load_weights(model, state, strict=False)
    assert report.missing == ("backbone.norm.bias",)
    assert report.unexpected == ("backbone.extra",)
    assert report.mismatched == {"head.fc.bias": ((5,), (9,))}
    assert report.loaded == len(before) - 2
    assert not report.complete
    kept = ("backbone.norm.bias", "head.fc.bias")
    check_equal(model.state_dict(), source.state_dict() | {name: before[name] for name in kept})


def test_positions_of_another_grid():
    theirs, model = theirs_and_ours("vit_tiny_16", "vit_tiny_patch16_224", (64, 64), depth=1)
    state = theirs.state_dict()
    _, wide = theirs_and_ours("vit_tiny_16", "vit_tiny_patch16_224", (48, 112), depth=1)
    assert not load_weights(model, state).resampled
    assert load_weights(wide, state).resampled == {"backbone.position.embedding": ((3, 7), (4, 4))}
    expected = timm.layers.resample_abs_pos_embed(state["pos_embed"], [3, 7])[0, 1:]
    torch.testing.assert_close(wide.state_dict()["backbone.position.embedding"], expected, rtol=1e-6, atol=1e-6)
    resampled = {"backbone.position.embedding": wide.backbone.position.embedding}
    check_equal(wide.state_dict(), model.state_dict() | resampled)


def test_relative_biases_of_another_grid(randomise):
    square = randomise(tiny((16, 16), position="relative"))
    wide = tiny((12, 20), position="relative")
    report = load_weights(wide, square.state_dict())
    tables = {f"backbone.blocks.{block}.attention.bias.table": ((3, 5), (4, 4)) for block in (0, 1)}
    assert report.resampled == tables
    for name in tables:
        old, new = square.state_dict()[name], wide.state_dict()[name]
        assert new.shape == (3, 5, 9)
        torch.testing.assert_close(new[:, [0, 2, 4]][:, :, [0, 4, 8]], old[:, [0, 3, 6]][:, :, [0, 3, 6]])
    check_equal(wide.state_dict(), square.state_dict() | {name: wide.state_dict()[name] for name in tables})
    images = torch.randn(2, 3, 12, 20)
    torch.testing.assert_close(wide(images), square(images))
