"""Every kind of model and tokenizer to YAML and back."""

import dataclasses

import pytest

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
    TimmConfig,
    TorchvisionConfig,
    ViTConfig,
    WideResNetConfig,
)
from hybridvit.backbones.model_kinds import ModelConfig
from hybridvit.backbones.tokenizer_kinds import TokenizerConfig
from hybridvit.backbones.variants import VARIANTS
from hybridvit.config import from_dict, from_yaml, kinds, to_yaml
from hybridvit.recipe import Recipe

# Together these change every field of every kind of model and tokenizer.
MODELS = [
    ViTConfig(
        embed_dim=36,
        depth=3,
        num_heads=9,
        mlp_ratio=2.5,
        tokenizer=ConvConfig(channels=(3, 5), strides=(2, 1)),
        position="sincos2d",
        position_dim=8,
        attention=("gpsa", "lsa", "talking_heads"),
        feedforward="conv",
        class_token_layer=1,
        distilled=True,
        qkv_bias=False,
        qk_norm=True,
        qk_scale=0.25,
        layer_scale=1e-5,
        mlp_residual="normalised",
        norm_eps=1e-5,
        initialisation="mimetic",
        locality_strength=0.1,
        drop_path=0.2,
        dropout=0.3,
    ),
    ViTConfig(tokenizer=PatchConfig(patch_size=3), pooling="class_attention", class_attention_depth=3),
    ViTConfig(tokenizer=OverlapConfig(kernel_size=5, stride=3)),
    ViTConfig(tokenizer=ConvPoolConfig(kernel_size=5, stride=2, layers=3, hidden_dim=7)),
    ViTConfig(tokenizer=ShiftedPatchConfig(patch_size=4)),
    ViTConfig(tokenizer=T2TConfig(token_dim=6, inner="transformer")),
    ViTConfig(tokenizer=StagesConfig(cnn=StdResNetConfig(depths=(1,), width=32), patch_size=2)),
    ViTConfig(tokenizer=StagesConfig(cnn=ResNetConfig(width=32))),
    ResNetConfig(
        block="bottleneck", depths=(1, 2), stem="imagenet", num_heads=8, attention_stages=(2,), attention_after=(1,)
    ),
    StdResNetConfig(depths=(1, 2), width=32),
    WideResNetConfig(depth=16, width_factor=3, dropout=0.3),
    TorchvisionConfig(name="alexnet", stem="small"),
    TimmConfig(name="resnet26"),
]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_comes_back_from_yaml(name):
    config = Recipe(name="1e3", model=VARIANTS[name].config)
    assert from_yaml(Recipe, to_yaml(config)) == config


@pytest.mark.parametrize("model", MODELS, ids=lambda model: getattr(model, "tokenizer", model).kind)
def test_every_kind_of_model_comes_back_from_yaml(model):
    config = Recipe(name="1e3", model=model)
    assert from_yaml(Recipe, to_yaml(config)) == config


def test_the_samples_of_every_field_differ_from_the_defaults():
    """...or the test above would miss a field that is not read."""
    samples = list(MODELS)
    samples += [sample.tokenizer for sample in MODELS if isinstance(sample, ViTConfig)]
    samples += [sample.cnn for sample in samples if isinstance(sample, StagesConfig)]
    types = {type(sample) for sample in samples}
    assert types == {*kinds(ModelConfig).values(), *kinds(TokenizerConfig).values()}
    for kind in types:
        changed = {
            field.name
            for sample in samples
            for field in dataclasses.fields(kind)
            if type(sample) is kind and getattr(sample, field.name) != getattr(kind(), field.name)
        }
        assert {field.name for field in dataclasses.fields(kind)} - changed <= {"kind"}, kind


def test_unions_are_told_apart_by_kind():
    model = {"kind": "vit", "tokenizer": {"kind": "patch", "patch_size": 3}}
    assert from_dict(Recipe, {"name": "x", "model": model}).model.tokenizer == PatchConfig(patch_size=3)
    with pytest.raises(ValueError, match=r"unknown field model.tokenizer.channels"):
        from_dict(Recipe, {"name": "x", "model": {"kind": "vit", "tokenizer": {"kind": "patch", "channels": [3]}}})
    with pytest.raises(ValueError, match=r"model.kind is missing: choose from vit, resnet"):
        from_dict(Recipe, {"name": "x", "model": {"embed_dim": 3}})
