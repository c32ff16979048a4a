"""Which cells a study has, and how results choose the learning rate."""

from dataclasses import replace

import pytest

from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.recipe import Recipe
from hybridvit.studies.learning_curve.study import NoLearningRate, Study
from hybridvit.training.engine import TrainConfig

VIT = ViTConfig(embed_dim=12, depth=2, num_heads=4, tokenizer=PatchConfig(patch_size=4), pooling="mean")
STUDY = Study(
    title="a question",
    base=Recipe(name="tiny", model=VIT, train=TrainConfig(steps=2, batch_size=8)),
    models={"ResNet": ResNetConfig(depths=(1,), width=6), "ViT": VIT},
    reference="ViT",
    train_sizes=(30, 70, 110),
    seeds=2,
    learning_rates=(1e-3, 1e-2),
    selection_seeds=3,
)


def cells(study, rates):
    """The reported runs, where the trials have chosen these learning rates."""
    results = {
        cell.key: {"validation": {"label": {"accuracy": float(cell.recipe.optim.lr == rates[cell.arm[0]])}}}
        for cell in replace(study, learning_rates=tuple(sorted({*rates.values(), *study.learning_rates}))).trials()
    }
    return replace(study, learning_rates=tuple(sorted({*rates.values(), *study.learning_rates}))).cells(results)


def test_cells_are_every_combination_once():
    final = cells(STUDY, {"ResNet": 1e-3, "ViT": 1e-2})
    assert len(final) == 2 * 3 * 2
    assert len({(*cell.arm, cell.seed) for cell in final}) == len(final)
    assert len({cell.key for cell in final}) == len(final)
    assert len(STUDY.trials()) == 2 * 2 * 3


def test_models_share_everything_but_the_model_and_its_learning_rate():
    by_model = {cell.arm[0]: cell.recipe for cell in cells(STUDY, {"ResNet": 1e-3, "ViT": 1e-2})[:2]}
    one, other = by_model["ResNet"], by_model["ViT"]
    assert replace(one, model=other.model, optim=other.optim, name=other.name) == other
    assert replace(one.optim, lr=1e-2) == other.optim


def test_trials_set_validation_apart_and_final_runs_use_all_images():
    assert {cell.recipe.data.validation for cell in STUDY.trials()} == {0.2}
    assert {cell.recipe.data.train_images for cell in STUDY.trials()} == {110}
    assert {cell.recipe.data.validation for cell in cells(STUDY, dict.fromkeys(STUDY.models, 1.0))} == {0.0}


def test_key_depends_on_every_setting():
    keys = {
        cell.key
        for study in (
            STUDY,
            replace(STUDY, base=replace(STUDY.base, train=TrainConfig(steps=3, batch_size=8))),
            replace(STUDY, models={**STUDY.models, "ViT": replace(VIT, depth=3)}),
        )
        for cell in cells(study, dict.fromkeys(STUDY.models, 1e-3))
        if (*cell.arm, cell.seed) == ("ViT", 30, 0)
    }
    assert len(keys) == 3


def test_learning_rate_of_the_best_mean_validation_accuracy_wins():
    score = {("ViT", 1e-3): 0.4, ("ViT", 1e-2): 0.6, ("ResNet", 1e-3): 0.5, ("ResNet", 1e-2): 0.5}
    results = {
        cell.key: {"validation": {"label": {"accuracy": score[cell.arm[0], cell.recipe.optim.lr] + 0.1 * cell.seed}}}
        for cell in STUDY.trials()
    }
    assert STUDY.chosen_rates(results) == {"ViT": 1e-2, "ResNet": 1e-3}  # the lower one where two tie


def test_a_model_whose_trials_all_failed_is_named():
    with pytest.raises(NoLearningRate, match="ResNet"):
        STUDY.chosen_rates({})


def test_one_learning_rate_needs_no_trials():
    study = replace(STUDY, learning_rates=(3e-3,))
    assert study.trials() == []
    assert study.chosen_rates({}) == {"ResNet": 3e-3, "ViT": 3e-3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "MLP"}, "reference 'MLP' is none of the models ResNet, ViT"),
        ({"train_sizes": (70, 30)}, "train_sizes must rise"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"learning_rates": ()}, "learning_rates must be at least 1 long"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(STUDY, **change)
