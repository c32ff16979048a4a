"""A trunk for several cameras: who goes through it, and what a camera that is missing leaves behind."""

import math

import pytest
import torch
from safetensors.torch import load_file, save_file

from hybridvit.backbones import ConvConfig, PatchConfig, ResNetConfig, StagesConfig, ViTConfig, WideResNetConfig
from hybridvit.data.rig import Rig
from hybridvit.data.synthetic.dataset import ring_of_cameras
from hybridvit.hydra.fusion import AttentionFusion
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.hydra.views import ViewsConfig, drop_views
from hybridvit.models import create_backbone
from hybridvit.tasks.classification import ClassificationHead

SIZE = (8, 12)
SHAPES = dict.fromkeys(("front", "left", "rear"), (3, *SIZE))
ODD = {"front": (3, 8, 12), "depth": (1, 12, 8), "rear": (3, 8, 12)}
VIT = ViTConfig(embed_dim=12, depth=2, num_heads=3, tokenizer=PatchConfig(patch_size=4))
CNN = ResNetConfig(depths=(1, 1), width=5)
BATCH = 5
PRESENT = {
    "front": torch.tensor([True, False, True, True, False]),
    "left": torch.tensor([True, True, False, True, False]),
    "rear": torch.tensor([False, True, False, True, True]),
}


def rig(shapes=SHAPES):
    ring = ring_of_cameras(4, SIZE).cameras
    return Rig({view: ring[view] for view in shapes})


def net(model=VIT, shapes=SHAPES, **fields):
    config = ViewsConfig(**{"grid": (2, 3), "embed_dim": 16, **fields})
    return config.build(model, shapes, rig() if config.fusion == "bev" else None)


def images(shapes=SHAPES, batch=BATCH):
    return {view: torch.randn(batch, *shape) for view, shape in shapes.items()}


def spoilt(given, present):
    """The images with NaN wherever the camera is missing."""
    return {view: x.masked_fill(~present[view][:, None, None, None], math.nan) for view, x in given.items()}


def gradients(module):
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


def check_features(features, spec, batch, size):
    assert features.grid == spec.grid
    assert features.tokens.shape == (batch, spec.grid[0] * spec.grid[1], spec.embed_dim)
    assert features.prefix.shape == (batch, spec.prefix_tokens, spec.embed_dim)
    expected = {s: (batch, c, math.ceil(size[0] / s), math.ceil(size[1] / s)) for s, c in spec.map_channels.items()}
    assert {stride: tuple(x.shape) for stride, x in features.maps.items()} == expected


@pytest.mark.parametrize("model", [VIT, CNN], ids=["vit", "cnn"])
@pytest.mark.parametrize("fusion", ["attention", "bev"])
def test_shapes_are_those_that_were_declared(model, fusion):
    backbone = net(model, fusion=fusion).eval()
    fused, views = backbone(images())
    assert backbone.spec.grid == (2, 3)
    assert fused.tokens.shape == (BATCH, 6, 16)
    assert fused.prefix.shape == (BATCH, backbone.spec.prefix_tokens, 16)
    assert {stride: tuple(x.shape) for stride, x in fused.maps.items()} == {1: (BATCH, 16, 2, 3)}
    assert backbone.spec.map_channels == {1: 16}
    assert list(views) == list(SHAPES)
    for view, features in views.items():
        check_features(features, backbone.view_spec(view), BATCH, SIZE)


def test_every_camera_sees_through_the_same_trunk():
    backbone, given = net().eval(), images()
    views = backbone(given).views
    for view, x in given.items():
        torch.testing.assert_close(views[view].tokens, backbone.trunk(x).tokens)
        torch.testing.assert_close(views[view].maps[4], backbone.trunk(x).maps[4])


@pytest.mark.parametrize("fusion", ["attention", "bev"])
@pytest.mark.parametrize("model", [VIT, CNN], ids=["vit", "cnn"])
@pytest.mark.parametrize("stems", ["shared", "separate"])
def test_a_masked_camera_is_a_rig_without_it(fusion, model, stems, randomise):
    """In training mode, with NaN in its place: results, gradients and batch statistics."""
    backbone, given = randomise(net(model, fusion=fusion, stems=stems), scale=0.2), images()
    start = {name: value.clone() for name, value in backbone.state_dict().items()}
    target = torch.randn(BATCH, 6, 16)

    def result(pixels, present):
        backbone.load_state_dict(start)
        backbone.zero_grad(set_to_none=True)
        fused, views = backbone(pixels, present)
        ((fused.tokens * target).sum() + views["rear"].tokens.square().sum()).backward()
        return fused.tokens, gradients(backbone), {n: v.clone() for n, v in backbone.named_buffers()}

    gone = {"left": torch.zeros(BATCH, dtype=torch.bool)}
    masked = result(given | {"left": torch.full_like(given["left"], math.nan)}, gone)
    without = result({view: x for view, x in given.items() if view != "left"}, None)
    torch.testing.assert_close(masked[0], without[0], rtol=0, atol=1e-6)
    assert masked[1].keys() == without[1].keys()
    assert sum(bool(gradient.any()) for gradient in masked[1].values()) > 20
    for part in (1, 2):
        for name, value in without[part].items():
            torch.testing.assert_close(masked[part][name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("fusion", ["attention", "bev"])
@pytest.mark.parametrize("model", [VIT, CNN], ids=["vit", "cnn"])
def test_each_sample_of_a_mixed_batch_is_as_if_alone_with_its_cameras(fusion, model, randomise):
    backbone, given = randomise(net(model, fusion=fusion), scale=0.2).eval(), images()
    fused, views = backbone(spoilt(given, PRESENT), PRESENT)
    for sample in range(BATCH):
        own = {view: x[sample : sample + 1] for view, x in given.items() if PRESENT[view][sample]}
        alone = backbone(own)
        torch.testing.assert_close(fused.tokens[sample], alone.fused.tokens[0], rtol=0, atol=1e-6)
        for view in SHAPES:
            expected = alone.views[view] if view in own else None
            tokens = torch.zeros_like(views[view].tokens[0]) if expected is None else expected.tokens[0]
            torch.testing.assert_close(views[view].tokens[sample], tokens, rtol=0, atol=1e-5)


@pytest.mark.parametrize("fusion", ["attention", "bev"])
def test_gradients_of_a_mixed_batch_are_the_sum_of_the_samples(fusion, randomise):
    backbone, given = randomise(net(VIT, fusion=fusion), scale=0.2).double(), images()
    given = {view: x.double() for view, x in given.items()}
    backbone(spoilt(given, PRESENT), PRESENT).fused.tokens[:, :3].square().sum().backward()
    together = {name: g.clone() for name, g in gradients(backbone).items()}
    backbone.zero_grad()
    for sample in range(BATCH):
        own = {view: x[sample : sample + 1] for view, x in given.items() if PRESENT[view][sample]}
        backbone(own).fused.tokens[:, :3].square().sum().backward()
    for name, gradient in gradients(backbone).items():
        torch.testing.assert_close(together[name], gradient, rtol=1e-6, atol=1e-6, msg=name)


def test_batch_norm_sees_only_images_that_are_there():
    backbone, given = net(CNN).train(), images()
    alone = create_backbone(CNN, SIZE)
    alone.load_state_dict(backbone.trunk.state_dict())
    backbone(spoilt(given, PRESENT), PRESENT)
    alone.train()(torch.cat([given[view][PRESENT[view]] for view in SHAPES]))
    for (name, actual), expected in zip(backbone.trunk.named_buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(actual, expected, msg=name)


def test_a_camera_that_no_sample_has_gives_zeros_of_its_shapes():
    for model, stems in ((VIT, "shared"), (CNN, "separate")):
        backbone = net(model, ODD if stems == "separate" else SHAPES, stems=stems)
        given = images(backbone.shapes)
        missing = "depth" if stems == "separate" else "left"
        del given[missing]
        features = backbone(given).views[missing]
        check_features(features, backbone.view_spec(missing), BATCH, backbone.shapes[missing][1:])
        assert not features.tokens.any()
        assert not any(x.any() for x in features.maps.values())


def test_a_camera_without_a_mask_is_there_wherever_it_is_given():
    backbone, given = net().eval(), images()
    partly = {"left": PRESENT["left"]}
    everywhere = partly | dict.fromkeys(("front", "rear"), torch.ones(BATCH, dtype=torch.bool))
    torch.testing.assert_close(backbone(given, partly).fused.tokens, backbone(given, everywhere).fused.tokens)


def test_a_sample_without_any_camera_is_refused_by_its_index():
    none = {view: PRESENT[view] & (torch.arange(BATCH) != 3) for view in SHAPES}
    with pytest.raises(ValueError, match="sample 3 of the batch has no camera"):
        net()(images(), none)
    with pytest.raises(ValueError, match="sample 4 of the batch has no camera"):
        net()({"left": images()["left"]}, {"left": torch.arange(BATCH) != 4, "rear": torch.ones(BATCH).bool()})


@pytest.mark.parametrize(
    ("change", "present", "message"),
    [
        (lambda x: x["front"], None, r"expected images by camera \(front, left, rear\), given a tensor"),
        (lambda x: {}, None, "given none"),
        (lambda x: x | {"back": x["rear"]}, None, "there is no camera 'back'; the cameras are front, left, rear"),
        (
            lambda x: x | {"rear": x["rear"][:2]},
            None,
            r"expected images \[5, 3, 8, 12\] of camera 'rear', given \[2, 3",
        ),
        (lambda x: x | {"rear": x["rear"].mT}, None, r"of camera 'rear', given \[5, 3, 12, 8\]"),
        (lambda x: x, {"back": torch.ones(BATCH).bool()}, "there is no camera 'back'"),
        (lambda x: x, {"rear": torch.ones(BATCH)}, r"present\['rear'\] must be bool \[5\], given torch.float32 \[5\]"),
        (lambda x: x, {"rear": torch.ones(2).bool()}, r"present\['rear'\] must be bool \[5\], given torch.bool \[2\]"),
    ],
)
def test_batches_that_do_not_fit_are_refused(change, present, message):
    with pytest.raises(ValueError, match=message):
        net()(change(images()), present)


# Camera dropout


def test_a_camera_is_dropped_with_its_chance_but_never_the_last():
    mask = torch.tensor([[True, True, True], [True, False, True], [False, True, False]]).repeat(8000, 1)
    kept = drop_views(mask, 0.3).view(8000, 3, 3)
    assert kept.any(dim=2).all()
    assert not (kept & ~mask.view(8000, 3, 3)).any()
    # kept by itself, or as one of n after all were dropped: 0.7 + 0.3^n / n
    shares = kept.float().mean(dim=0)
    torch.testing.assert_close(shares[0], torch.full((3,), 0.7 + 0.3**3 / 3), rtol=0, atol=0.02)
    torch.testing.assert_close(shares[1], torch.tensor([1.0, 0, 1]) * (0.7 + 0.3**2 / 2), rtol=0, atol=0.02)
    assert shares[2].tolist() == [0, 1, 0]


def test_dropout_hides_cameras_from_the_fusion_alone_and_only_in_training():
    backbone, given = net(dropout=0.5), images()
    plain = net()
    plain.load_state_dict(backbone.state_dict())
    torch.manual_seed(4)
    mask = drop_views(torch.stack(list(PRESENT.values()), dim=1), 0.5)
    assert 0 < mask.sum() < sum(int(column.sum()) for column in PRESENT.values())
    torch.manual_seed(4)
    actual = backbone.train()(given, PRESENT)
    expected = plain.train()(given, dict(zip(SHAPES, mask.unbind(1), strict=True)))
    torch.testing.assert_close(actual.fused.tokens, expected.fused.tokens, rtol=0, atol=1e-6)
    whole = plain(given, PRESENT)
    for view in SHAPES:
        torch.testing.assert_close(actual.views[view].tokens, whole.views[view].tokens)
    torch.testing.assert_close(backbone.eval()(given, PRESENT).fused.tokens, whole.fused.tokens)


# Separate stems


def stem_of(backbone, view, model, shape):
    """A whole backbone with a camera's stem and the shared layers."""
    whole = create_backbone(model, shape[1:], in_channels=shape[0])
    own = backbone.trunk.state_dict() | backbone.stems[view].state_dict()
    whole.load_state_dict(own)
    return whole


HYBRID = ViTConfig(
    embed_dim=12, depth=1, num_heads=2, tokenizer=StagesConfig(cnn=CNN), position="sincos2d", pooling="mean"
)
CONV = ViTConfig(embed_dim=12, depth=1, num_heads=2, tokenizer=ConvConfig(channels=(5,), strides=(4,)))


@pytest.mark.parametrize("model", [VIT, CNN, HYBRID, CONV], ids=["vit", "cnn", "hybrid", "conv"])
def test_separate_stems_are_whole_backbones_that_share_their_later_layers(model, randomise):
    backbone, given = randomise(net(model, ODD, stems="separate")).eval(), images(ODD)
    views = backbone(given).views
    for view, shape in ODD.items():
        whole = stem_of(backbone, view, model, shape).eval()
        assert whole.spec == backbone.view_spec(view)
        expected = whole(given[view])
        torch.testing.assert_close(views[view].tokens, expected.tokens)
        torch.testing.assert_close(views[view].prefix, expected.prefix)
        assert views[view].maps.keys() == expected.maps.keys()
        for stride, image in expected.maps.items():
            torch.testing.assert_close(views[view].maps[stride], image)


def test_stems_of_cameras_differ():
    backbone = net(VIT, SHAPES, stems="separate").eval()
    same = torch.randn(1, *SHAPES["front"]).expand(2, -1, -1, -1)
    views = backbone(dict.fromkeys(SHAPES, same)).views
    assert (views["front"].tokens - views["rear"].tokens).abs().max() > 0.01


@pytest.mark.parametrize("model", [VIT, CNN], ids=["vit", "cnn"])
@pytest.mark.parametrize("stems", ["shared", "separate"])
def test_weights_go_to_a_safetensors_file_and_back(model, stems, tmp_path):
    backbone = net(model, SHAPES if stems == "shared" else ODD, stems=stems).eval()
    save_file(backbone.state_dict(), tmp_path / "weights.safetensors")
    other = net(model, SHAPES if stems == "shared" else ODD, stems=stems).eval()
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    given = images(backbone.shapes)
    assert torch.equal(other(given).fused.tokens, backbone(given).fused.tokens)
    count = {"shared": 1, "separate": 0}[stems]
    first = "tokenizer.proj.weight" if model is VIT else "conv1.weight"
    names = list(backbone.state_dict())
    assert sum(name == f"trunk.{first}" for name in names) == count
    assert sum(name.startswith("stems.") and name.endswith(first) for name in names) == (0 if count else 3)


@pytest.mark.parametrize("model", [VIT, CNN, HYBRID], ids=["vit", "cnn", "hybrid"])
@pytest.mark.parametrize("stems", ["shared", "separate"])
def test_every_parameter_has_one_layer_from_the_images_to_the_fusion(model, stems):
    backbone = net(model, stems=stems)
    layers = backbone.parameter_layers()
    owners = {
        name: [i for i, group in enumerate(layers) if any(name == p or name.startswith(f"{p}.") for p in group)]
        for name, _ in backbone.named_parameters()
    }
    assert all(len(actual) == 1 for actual in owners.values())
    assert {actual[0] for actual in owners.values()} == set(range(len(layers)))
    assert {actual[0] for name, actual in owners.items() if name.startswith("stems.")} <= {0}
    assert layers[-1] == ("fusion",)
    assert len(layers) == len(create_backbone(model, SIZE).parameter_layers()) + 1


@pytest.mark.parametrize("stems", ["shared", "separate"])
@pytest.mark.parametrize("model", [VIT, CNN, HYBRID], ids=["vit", "cnn", "hybrid"])
def test_checkpointing_changes_no_gradient(model, stems):
    backbone, given = net(model, stems=stems, fusion="bev"), images()

    def result(enable):
        backbone.set_grad_checkpointing(enable)
        backbone.zero_grad(set_to_none=True)
        torch.manual_seed(1)
        fused, views = backbone(given, PRESENT)
        (fused.tokens[..., 0].square().sum() + views["left"].tokens.sum()).backward()
        return gradients(backbone)

    plain, again = result(False), result(True)
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=1e-4, atol=1e-5, msg=name)


# Building


def test_heads_read_the_fused_features_or_one_camera():
    backbone = net().eval()
    heads = {"all": ClassificationHead(backbone.spec, 3), "left": ClassificationHead(backbone.view_spec("left"), 2)}
    model, given = HydraNet(backbone, heads, reads={"left": "left"}), images()
    predictions = model(given, PRESENT)
    fused, views = backbone(given, PRESENT)
    assert torch.equal(predictions["all"], heads["all"](fused))
    assert torch.equal(predictions["left"], heads["left"](views["left"]))
    without = model({view: x for view, x in given.items() if view != "left"})  # its answer is void, but no error
    assert without["left"].shape == (BATCH, 2)


def test_half_precision_on_the_cpu():
    for fusion in ("attention", "bev"):
        backbone, given = net(fusion=fusion).eval(), images()
        exact = backbone(given, PRESENT).fused.tokens
        with torch.autocast("cpu", torch.bfloat16):
            half = backbone(given, PRESENT).fused.tokens
        torch.testing.assert_close(half.float(), exact, rtol=0, atol=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((VIT, ViewsConfig(), ODD), "cameras 'front' and 'depth' take images of 3x8x12 and 1x12x8.*stems separate"),
        (
            (WideResNetConfig(depth=10, width_factor=1), ViewsConfig(stems="separate"), SHAPES),
            "stems separate needs a vit or a resnet, .* given wide_resnet",
        ),
        ((VIT, ViewsConfig(fusion="bev"), SHAPES), "fusion bev needs a rig"),
        ((VIT, ViewsConfig(fusion="bev"), SHAPES, rig(["front", "left"])), "the rig has no camera 'rear'"),
        ((VIT, ViewsConfig(), {}), "at least one camera"),
        ((VIT, ViewsConfig(), {"front.left": (3, 8, 12)}), "letters, digits and _.*given 'front.left'"),
        ((VIT, ViewsConfig(), {"keys": (3, 8, 12)}), "given 'keys'"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    model, config, *rest = arguments
    with pytest.raises(ValueError, match=message):
        config.build(model, *rest)


def test_an_unknown_camera_has_no_spec():
    with pytest.raises(ValueError, match="there is no camera 'top'; the cameras are front, left, rear"):
        net().view_spec("top")


def test_the_default_is_attention_over_a_shared_trunk():
    backbone = ViewsConfig().build(VIT, SHAPES)
    assert backbone.spec.embed_dim == ViewsConfig().embed_dim
    assert isinstance(backbone.fusion, AttentionFusion)
    assert not backbone.stems
