"""All five sockets with each other, for other image sizes, and the maps of a CNN in the first one."""

import random
from dataclasses import replace
from itertools import combinations, product
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from hybridvit.backbones import (
    ConvConfig,
    ConvPoolConfig,
    OverlapConfig,
    PatchConfig,
    ResNetConfig,
    ShiftedPatchConfig,
    StagesConfig,
    StdResNetConfig,
    T2TConfig,
    ViTConfig,
)
from hybridvit.layers.attention_kinds import POSITIONAL, AttentionKind
from hybridvit.layers.positions import resample
from hybridvit.layers.relative import resample_table
from hybridvit.models import create_backbone, create_model

SMALL = ViTConfig(embed_dim=28, depth=2, num_heads=4, mlp_ratio=1.5, tokenizer=PatchConfig(patch_size=2))
RESNET, STD_RESNET = ResNetConfig(width=4, depths=(1, 1)), StdResNetConfig(width=32, depths=(1,))

AXES = {
    "tokenizer": [  # images of 32 x 48 pixels become 4 x 6 tokens, 2 x 3 from t2t
        PatchConfig(patch_size=8),
        OverlapConfig(kernel_size=11, stride=8),
        ConvConfig(channels=(4, 5, 6), strides=(2, 2, 2)),
        ConvPoolConfig(kernel_size=3, stride=2, layers=1, hidden_dim=8),
        ShiftedPatchConfig(patch_size=8),
        T2TConfig(token_dim=8),
        T2TConfig(token_dim=8, inner="transformer"),
        StagesConfig(cnn=RESNET, patch_size=4),
        StagesConfig(cnn=STD_RESNET, patch_size=2),
    ],
    "position": ["learned", "sincos1d", "sincos2d", "relative", "none"],
    "position_dim": [0, 8],
    "attention": [*((kind,) for kind in get_args(AttentionKind)), ("gpsa", "lsa"), ("psa", "talking_heads")],
    "feedforward": ["mlp", "conv"],
    "pooling": ["cls", "mean", "seq", "class_attention"],
    "distilled": [False, True],
    "initialisation": ["default", "random", "mimetic"],
    "qk_norm": [False, True],
    "layer_scale": [None, 0.1],
    "mlp_residual": ["input", "normalised"],
    "drop_path": [0.0, 0.2],
}


def configured(choice):
    """The configuration of one choice on every axis, or None where it is refused."""
    late = choice.get("pooling", "cls") == "cls" and set(POSITIONAL) & set(choice.get("attention", ()))
    fields = {"class_token_layer": 1} if late else {}
    try:
        return replace(SMALL, **fields, **choice)
    except ValueError:
        return None


def pairs_of(choice):
    """Every two settings of one choice, as names and positions on their axes."""
    return set(combinations([(name, AXES[name].index(choice[name])) for name in AXES], 2))


def covering():
    """Few choices that hold every two settings that go together: of many draws always the one with most new pairs."""
    generator = random.Random(0)
    draws = [{name: generator.choice(values) for name, values in AXES.items()} for _ in range(3000)]
    pairs = [(choice, pairs_of(choice)) for choice in draws if configured(choice)]
    left, rows = set().union(*(held for _, held in pairs)), []
    while left:
        choice, held = max(pairs, key=lambda pair: len(pair[1] & left))
        rows.append(choice)
        left -= held
    return rows


COVERING = covering()


def test_every_two_settings_meet_but_those_that_are_refused():
    met = set().union(*(pairs_of(choice) for choice in COVERING))
    for one, other in combinations(AXES, 2):
        for i, j in product(range(len(AXES[one])), range(len(AXES[other]))):
            choice = {one: AXES[one][i], other: AXES[other][j]}
            if ((one, i), (other, j)) not in met:
                assert refused(choice), f"{choice} never meet"


def refused(choice):
    """Whether two settings exclude each other, whatever the other fields say."""
    attention = choice.get("attention", ("gpsa", "lsa"))
    on_grid_alone = set(attention) <= set(POSITIONAL)
    plain = not set(POSITIONAL) & set(attention)
    return (
        (choice.get("position") in ("relative", "none") and choice.get("position_dim", 0) > 0)
        or (on_grid_alone and choice.get("position") == "relative")
        or (on_grid_alone and choice.get("initialisation") == "mimetic")
        or (on_grid_alone and (choice.get("pooling") == "cls" or choice.get("distilled", False)))
        or (plain and choice.get("initialisation") == "random")
        or (choice.get("distilled", False) and choice.get("pooling", "cls") != "cls")
    )


@pytest.mark.parametrize("choice", COVERING, ids=range(len(COVERING)))
def test_every_choice_takes_one_step_downhill(choice):
    model = create_model(configured(choice), num_classes=5, image_size=(32, 48), in_channels=2)
    images, labels = torch.randn(5, 2, 32, 48), torch.arange(5)

    def loss():
        torch.manual_seed(1)  # dropped are the same paths
        return F.cross_entropy(model(images), labels)

    before = loss()
    before.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), f"{name} has a gradient that is not finite"
    norm = torch.stack([parameter.grad.norm() for parameter in model.parameters()]).norm()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-3 / norm * parameter.grad
    assert loss() < before


POSITIONS = [
    *product(["learned", "sincos1d", "sincos2d"], [0, 8], ["mhsa", "gpsa"]),
    *product(["relative"], [0], ["mhsa", "lsa", "talking_heads"]),
    ("none", 0, "mhsa"),
]


@pytest.mark.parametrize(("position", "width", "attention"), POSITIONS)
@pytest.mark.parametrize("pooling", ["cls", "seq", "class_attention"])
def test_another_image_size_is_what_a_model_made_for_it_sees(position, width, attention, pooling, randomise):
    """...with the tables resampled, where they are learned: every other weight has nothing to do with the size."""
    gpsa = attention == "gpsa"
    config = replace(
        SMALL,
        position=position,
        position_dim=width,
        attention=("gpsa", "mhsa") if gpsa else (attention,),
        pooling=pooling,
        class_token_layer=int(gpsa and pooling == "cls"),
    )
    backbone = randomise(create_backbone(config, image_size=(6, 10), in_channels=2))
    other = create_backbone(config, image_size=(8, 14), in_channels=2)
    state = backbone.state_dict()
    for name, value in state.items():
        if name == "position.embedding":
            state[name] = resample(value, (3, 5), (4, 7))
        elif name.endswith("bias.table"):
            state[name] = resample_table(value, (4, 7))
    other.load_state_dict(state)
    images = torch.randn(2, 2, 8, 14)
    ours, wanted = backbone(images), other(images)
    assert ours.grid == wanted.grid == (4, 7)
    assert ours.tokens.shape == (2, 28, 28)
    torch.testing.assert_close(ours.tokens, wanted.tokens, rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.prefix, wanted.prefix, rtol=0, atol=1e-4)
    learned = [name for name in state if name == "position.embedding" or name.endswith("bias.table")]
    assert len(learned) == {"learned": 1, "relative": 2}.get(position, 0)


@pytest.mark.parametrize(
    ("cnn", "patch_size", "size", "channels", "grid"),
    [
        (RESNET, 1, (16, 24), {1: 4, 2: 28}, (8, 12)),  # the tokens' map takes the place of the CNN's last
        (RESNET, 1, (17, 23), {1: 4, 2: 28}, (9, 12)),  # every stride rounds up
        (RESNET, 3, (17, 24), {1: 4, 2: 8, 6: 28}, (3, 4)),
        (STD_RESNET, 2, (13, 24), {4: 128, 8: 28}, (2, 3)),
        (replace(STD_RESNET, depths=(1, 1)), 1, (19, 24), {4: 128, 8: 28}, (3, 3)),
    ],
)
def test_maps_of_a_cnn_and_of_the_tokens_are_declared(cnn, patch_size, size, channels, grid):
    config = replace(SMALL, tokenizer=StagesConfig(cnn=cnn, patch_size=patch_size))
    backbone = create_backbone(config, image_size=size, in_channels=2)
    features = backbone(torch.randn(2, 2, *size))
    assert backbone.spec.map_channels == channels
    assert backbone.stride == max(channels)
    assert features.grid == backbone.spec.grid == grid
    shapes = {stride: tuple(maps.shape) for stride, maps in features.maps.items()}
    cells = {stride: (-(-size[0] // stride), -(-size[1] // stride)) for stride in channels}
    assert shapes == {stride: (2, channels[stride], *cells[stride]) for stride in channels}
    tokens = features.tokens.transpose(1, 2).unflatten(2, grid)
    assert torch.equal(features.maps[backbone.stride], tokens)


def test_an_image_that_patches_of_cells_do_not_tile_is_refused():
    config = replace(SMALL, tokenizer=StagesConfig(cnn=RESNET, patch_size=3))
    with pytest.raises(
        ValueError, match=r"patch_size 3 does not divide the CNN's map of 8x12 .* multiples of 6 pixels"
    ):
        create_backbone(config, image_size=(16, 24))


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (PatchConfig, {"patch_size": 0}, "patch_size must be at least 1, given 0"),
        (ConvConfig, {"channels": (4, 5)}, "one stride for each convolution"),
        (ConvConfig, {"channels": (), "strides": ()}, "one stride for each convolution"),
        (ConvConfig, {"channels": (4,), "strides": (0,)}, "strides.0 must be at least 1"),
        (
            OverlapConfig,
            {"kernel_size": 3, "stride": 4},
            "kernel_size 3 with stride 4 skips pixels: choose kernel_size 4 or more",
        ),
        (OverlapConfig, {"stride": 0}, "stride must be at least 1, given 0"),
        (ConvPoolConfig, {"layers": 0}, "layers must be at least 1, given 0"),
        (ConvPoolConfig, {"hidden_dim": 0}, "hidden_dim must be at least 1, given 0"),
        (ShiftedPatchConfig, {"patch_size": 1}, "patch_size must be at least 2.* given 1"),
        (T2TConfig, {"token_dim": 1}, "token_dim must be at least 2, given 1"),
        (StagesConfig, {"patch_size": 0}, "patch_size must be at least 1, given 0"),
    ],
)
def test_tokenizer_settings_that_make_no_sense_are_refused(config, fields, message):
    with pytest.raises(ValueError, match=message):
        config(**fields)
