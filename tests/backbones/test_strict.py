"""A model's configuration refuses what it does not know, in Python as in YAML, with the nearest choice."""

import math

import numpy as np
import pytest

import hybridvit as hv
from hybridvit.config import from_yaml
from hybridvit.recipe import Recipe
from hybridvit.studies.learning_curve.study import Study


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"position": "lerned"}, "position must be learned, .* or none, given 'lerned': did you mean learned"),
        ({"feedforward": "convv"}, "feedforward must be mlp or conv, given 'convv': did you mean conv"),
        ({"initialisation": "mimetik"}, "initialisation must be .*, given 'mimetik': did you mean mimetic"),
        ({"pooling": "gap"}, "pooling must be cls, mean, seq or class_attention, given 'gap'"),
        ({"attention": ("gpza",)}, "attention.0 must be mhsa, .*, given 'gpza': did you mean gpsa or psa"),
        ({"attention": "gpza"}, "attention.0 must be mhsa, .*, given 'gpza': did you mean gpsa or psa"),
        ({"mlp_residual": "normalized"}, "mlp_residual must be .*: did you mean normalised"),
        ({"depth": 0}, "depth must be at least 1, given 0"),
        ({"depth": True}, "depth must be an integer, given True"),
        ({"embed_dim": 2.5}, "embed_dim must be an integer, given 2.5"),
        ({"embed_dim": "192"}, "embed_dim must be an integer, given '192'"),
        ({"drop_path": math.nan}, "drop_path must be a finite number, given nan"),
        ({"mlp_ratio": math.inf}, "mlp_ratio must be a finite number, given inf"),
        ({"qkv_bias": 1}, "qkv_bias must be a boolean, given 1"),
        ({"tokenizer": "patch"}, "tokenizer must be one of PatchConfig, .*, given 'patch'"),
        ({"tokenizer": hv.ViTConfig()}, "tokenizer must be one of PatchConfig, .*, given ViTConfig"),
        ({"embed_dims": 3}, "unknown field embed_dims: did you mean embed_dim"),
    ],
)
def test_a_vit_refuses_what_it_does_not_know(fields, message):
    with pytest.raises(ValueError, match=message) as error:
        hv.ViTConfig(**fields)
    assert len(str(error.value).splitlines()) == 1


def test_what_means_the_same_is_welcome():
    config = hv.ViTConfig(attention="lsa", embed_dim=np.int64(192), mlp_ratio=2, drop_path=np.float32(0.5))
    assert config == hv.ViTConfig(attention=("lsa",), mlp_ratio=2.0, drop_path=0.5)
    assert hv.ResNetConfig(depths=[1, 2]).depths == (1, 2)
    assert from_yaml(hv.ViTConfig, "attention: lsa").attention == ("lsa",)


def test_fields_are_given_by_name():
    with pytest.raises(TypeError, match="PatchConfig takes its fields by name, given 16 without one"):
        hv.PatchConfig(16)


def test_a_models_name_is_a_model():
    assert Recipe(name="x", model="deit_tiny").model == hv.ViTConfig()
    assert Recipe(name="x", model="timm/resnet18").model == hv.TimmConfig(name="resnet18")
    assert from_yaml(Recipe, "name: x\nmodel: deit_tiny").model == hv.ViTConfig()
    base = Recipe(name="x", model="deit_tiny")
    study = Study(title="t", base=base, models={"a": "resnet18"}, reference="a", train_sizes=(9,))
    assert study.models == {"a": hv.ResNetConfig()}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("deit_tinny", "model: there is no model 'deit_tinny': did you mean deit_tiny"),
        (3, "model must be one of ViTConfig, .*, given 3"),
        (None, "model must be one of ViTConfig, .*, given None"),
        (hv.PatchConfig(), "model must be one of ViTConfig, .*, given PatchConfig"),
    ],
)
def test_anything_else_is_refused_at_once(model, message):
    with pytest.raises(ValueError, match=message):
        Recipe(name="x", model=model)
