"""A study's results as arrays, from results that no run gave."""

import json
from dataclasses import replace

import pytest

from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.recipe import Recipe
from hybridvit.studies.learning_curve.study import Study, Variant
from hybridvit.studies.learning_curve.table import tabulate

VIT = ViTConfig(embed_dim=12, depth=1, num_heads=4, tokenizer=PatchConfig(patch_size=4), pooling="mean")
STUDY = Study(
    title="a question",
    base=Recipe(name="tiny", model=VIT),
    models={"ResNet": ResNetConfig(depths=(1,), width=6), "ConViT": replace(VIT, attention=("gpsa",)), "ViT": VIT},
    reference="ViT",
    train_sizes=(30, 70),
    seeds=7,
)


def results_of(study, accuracy):
    """Results of the models named, by a function of model, size and seed."""
    rest = {"params": 1, "test_images": 100, "steps": 3, "seconds": {"train": 1.0, "total": 1.0}}
    return {
        cell.key: {**rest, "test": {"label": {"accuracy": value}}}
        for cell in study.cells({})
        if (value := accuracy(*cell.arm, cell.seed)) is not None
    }


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_equal_flat_curves_have_no_factor(level):
    one = tabulate(STUDY, results_of(STUDY, lambda *arm: level)).equivalence["ConViT"].factor
    assert json.loads(json.dumps(one.as_json(), allow_nan=False))["factor"] is None
    assert str(one) == "not resolved"


def test_a_variant_without_a_result_is_still_a_comparison():
    variant = Variant(model=replace(VIT, feedforward="conv"), against="ViT", train_sizes=(30,))
    study = replace(STUDY, variants={"ViT, convolutional": variant})
    level = {"ResNet": 0.9, "ConViT": 0.8, "ViT": 0.7}
    results = results_of(study, lambda model, size, seed: level[model] + 0.001 * seed if model in level else None)
    p = tabulate(study, results).p
    assert p["ViT, convolutional"] is None
    assert p["ResNet"] == pytest.approx(3 * 2**-6)
