"""What a model says about itself, against numbers worked out by hand."""

from dataclasses import replace

import pytest

import hybridvit as hv
from hybridvit.backbones import OverlapConfig, ResNetConfig, ShiftedPatchConfig, WideResNetConfig
from hybridvit.backbones.variants import VARIANTS
from hybridvit.models import cost, difference, format_difference, summaries, summary, table

TINY = hv.ViTConfig(embed_dim=8, depth=3, num_heads=2, mlp_ratio=2.5, tokenizer=hv.PatchConfig(patch_size=4))


def test_cost_of_a_vit_by_hand():
    """15 patches of 4x4x3 pixels and a class token, in three blocks of width 8 with 20 hidden units, 11 classes."""
    params, multiply_adds = cost(TINY, (12, 20), num_classes=11)
    block = (8 * 24 + 24) + (8 * 8 + 8) + (8 * 20 + 20) + (20 * 8 + 8) + 2 * (8 + 8)
    assert params == (48 * 8 + 8) + 15 * 8 + 8 + 3 * block + (8 + 8) + (8 * 11 + 11)
    block = 16 * (8 * 24 + 8 * 8 + 8 * 20 + 20 * 8) + 2 * 16 * 16 * 8  # the last: q·k and weights·values
    assert multiply_adds == 15 * 48 * 8 + 3 * block + 8 * 11


def test_cost_of_a_resnet_by_hand():
    """One block of two 3x3 convolutions on 6x10 pixels behind the stem, then 5 classes."""
    params, multiply_adds = cost(ResNetConfig(depths=(1,), width=4), (6, 10), num_classes=5)
    assert params == 27 * 4 + 2 * 4 + 2 * (36 * 4 + 2 * 4) + (4 * 5 + 5)
    assert multiply_adds == 60 * (27 * 4 + 2 * 36 * 4) + 4 * 5


def test_cost_of_a_gated_layer_is_less_than_its_matrix():
    """On 70 cells GPSA's position attention is two small products for every channel, not one of 70 x 70."""
    plain = replace(TINY, depth=1, num_heads=4, pooling="mean")
    gated = replace(plain, attention=("gpsa",))
    assert cost(gated, (28, 40))[1] - cost(plain, (28, 40))[1] == 70 * (7 + 10) * 8


def test_summary_of_a_named_model():
    row = summary("vit_tiny_16")
    assert row == {
        "name": "vit_tiny_16",
        "params": 5_717_224,
        "multiply_adds": 1_253_683_200,
        "image_size": [224, 224],
        "sockets": {
            "tokenizer": "patch 16",
            "position": "learned",
            "attention": "mhsa x12",
            "feedforward": "mlp x4",
            "pooling": "cls",
        },
        "paper": "arXiv 2106.10270",
        "about": "ViT-Ti/16, width 192 (arXiv 2106.10270, table 1).",
    }
    patches, tokens = 14 * 14, 14 * 14 + 1
    block = tokens * 12 * 192 * 192 + 2 * tokens * tokens * 192
    assert row["multiply_adds"] == patches * 768 * 192 + 12 * block + 192 * 1000


def test_summary_at_another_size():
    row = summary("convit_tiny", (64, 96))
    assert row["image_size"] == [64, 96]
    assert (row["params"], row["multiply_adds"]) == cost("convit_tiny", (64, 96))
    assert row["params"] == summary("convit_tiny")["params"] - (196 - 24) * 192
    assert summary("resnet18")["image_size"] == [32, 32]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_model_names_its_five_sockets_and_a_paper(name):
    row = VARIANTS[name].config.sockets()
    assert list(row) == ["tokenizer", "position", "attention", "feedforward", "pooling"]
    assert all(row.values())


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (replace(TINY, tokenizer=OverlapConfig()), {"tokenizer": "overlap 7/4"}),
        (replace(TINY, tokenizer=ShiftedPatchConfig(patch_size=8)), {"tokenizer": "shifted_patch 8"}),
        (replace(TINY, position="sincos2d", position_dim=4), {"position": "sincos2d beside 4"}),
        (replace(TINY, class_token_layer=2, distilled=True), {"pooling": "cls at 2 + distilled"}),
        (replace(TINY, attention=("lsa", "mhsa", "mhsa")), {"attention": "lsa, mhsa x2"}),
        (
            VARIANTS["dhvt_style_tiny"].config,
            {"tokenizer": "conv 96-192", "feedforward": "conv x4", "position": "none"},
        ),
        (VARIANTS["cait_s24"].config, {"attention": "talking_heads x24", "pooling": "class_attention x2"}),
        (VARIANTS["convit_small"].config, {"attention": "gpsa x10, mhsa x2", "pooling": "cls at 10"}),
        (VARIANTS["cct_7_7x2"].config, {"tokenizer": "conv_pool 7x2", "feedforward": "mlp x2", "pooling": "seq"}),
        (VARIANTS["t2t_vit_14"].config, {"tokenizer": "t2t performer", "position": "sincos1d"}),
        (VARIANTS["hybrid_r_tiny"].config, {"tokenizer": "std_resnet stem, patch 8"}),
        (VARIANTS["hybrid_r50_base"].config, {"tokenizer": "std_resnet 3-4-9"}),
        (VARIANTS["hybrid_resnet18_tiny"].config, {"tokenizer": "resnet 2-2-2"}),
        (VARIANTS["botnet50"].config, {"tokenizer": "resnet 3-4-6-3", "attention": "in stage 4", "pooling": "mean"}),
        (VARIANTS["resnet18_attention"].config, {"attention": "after stage 3", "feedforward": "none"}),
        (VARIANTS["densenet121"].config, {"tokenizer": "torchvision densenet121", "pooling": "mean"}),
        (WideResNetConfig(), {"tokenizer": "wide_resnet 28-10", "attention": "none", "position": "none"}),
    ],
)
def test_sockets_in_words(config, words):
    assert {socket: config.sockets()[socket] for socket in words} == words


def test_timm_models():
    timm = pytest.importorskip("timm")
    row = summary("timm/resnet18")
    assert row["params"] == sum(p.numel() for p in timm.create_model("resnet18").parameters()) == 11_689_512
    assert row["multiply_adds"] == cost(ResNetConfig(stem="imagenet"), 224)[1]
    assert (row["name"], row["paper"], row["about"], row["image_size"]) == (
        "timm/resnet18",
        None,
        "from timm",
        [224, 224],
    )
    assert ("name", None, "resnet18") in difference("resnet18", "timm/resnet18")


@pytest.mark.parametrize(("name", "nearest"), [("vit_tyni_16", "vit_tiny_16"), ("resnet19", "resnet18")])
def test_unknown_names(name, nearest):
    with pytest.raises(ValueError, match=f"there is no model '{name}'.*{nearest}"):
        summary(name)
    for pair in ((name, "resnet18"), ("resnet18", name)):
        with pytest.raises(ValueError, match=f"there is no model '{name}'.*{nearest}"):
            difference(*pair)


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="16"):
        summary("vit_tiny_16", 40)


def test_difference_of_vit_and_convit():
    assert difference("vit_tiny_16", "convit_tiny") == [
        ("num_heads", 3, 4),
        ("attention", ["mhsa"], ["gpsa"] * 10 + ["mhsa"] * 2),
        ("class_token_layer", 0, 10),
        ("qkv_bias", True, False),
    ]
    assert difference("deit_tiny", "vit_tiny_16") == []
    assert ("tokenizer.kind", "patch", "conv_pool") in difference("cvt_7_4", "cct_7_3x1")
    assert ("tokenizer.patch_size", 4, None) in difference("cvt_7_4", "cct_7_3x1")


def test_difference_as_text():
    rows = difference("vit_tiny_16", "convit_tiny")
    assert format_difference("vit_tiny_16", "convit_tiny", rows) == (
        "field              vit_tiny_16  convit_tiny\n"
        "num_heads          3            4\n"
        "attention          mhsa         gpsa x10, mhsa x2\n"
        "class_token_layer  0            10\n"
        "qkv_bias           True         False"
    )
    assert format_difference("deit_tiny", "vit_tiny_16", []) == "deit_tiny and vit_tiny_16 are the same model"
    text = format_difference("a", "b", [("depths", [2, 2], []), ("patch_size", 4, None)])
    assert text.splitlines()[1:] == ["depths      2-2  none", "patch_size  4    -"]


def test_summaries_name_what_does_not_fit():
    rows = list(summaries(["resnet18", "vit_tiny_16"], (24, 40)))
    assert rows[0] == summary("resnet18", (24, 40))
    assert rows[1].keys() == {"name", "error"}
    assert rows[1]["name"] == "vit_tiny_16"
    with pytest.raises(ValueError, match="patch"):
        list(summaries(["vit_tiny_16"], (24, 40)))


def test_table():
    lines = list(table(["vit_tiny_16", "resnet18"]))
    assert [line.split()[:7] for line in lines] == [
        ["name", "params", "mult-adds", "px", "tokenizer", "position", "attention"],
        ["vit_tiny_16", "5.72", "M", "1.25", "G", "224", "patch"],
        ["resnet18", "11.68", "M", "0.56", "G", "32", "resnet"],
    ]
    assert lines[1].index(" M ") == lines[2].index(" M ")
    assert lines[0].index("paper") == lines[1].index("arXiv") == lines[2].index("arXiv")
    assert lines[0].index("attention") == lines[1].index("mhsa x12")
    lines = list(table(["resnet18", "vit_tiny_16"], (24, 40)))
    assert len(lines) == 3
    assert "24x40" in lines[1]
    assert lines[2].startswith("vit_tiny_16  ")
