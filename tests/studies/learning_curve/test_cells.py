"""Which cells a study has, and how results choose the learning rates."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

import hybridvit as hv
from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.config import to_dict
from hybridvit.recipe import Recipe
from hybridvit.studies.learning_curve.learning_rates import extended, peak_rate
from hybridvit.studies.learning_curve.study import Arm, NoLearningRate, Study
from hybridvit.training.engine import TrainConfig

VIT = ViTConfig(embed_dim=12, depth=2, num_heads=4, tokenizer=PatchConfig(patch_size=4), pooling="mean")
STUDY = Study(
    title="a question",
    base=Recipe(name="tiny", model=VIT, train=TrainConfig(steps=2, batch_size=8)),
    models={"ResNet": ResNetConfig(depths=(1,), width=6), "ViT": VIT},
    reference="ViT",
    train_sizes=(30, 70, 110),
    seeds=2,
    learning_rates=(1e-3, 2e-3, 4e-3),
    selection_seeds=3,
)


def results_of(study, best):
    """Results of every trial, until the study wants no more: accuracy is a parabola over the log of the rate."""
    results = {}
    while missing := [cell for cell in study.trials(results) if cell.key not in results]:
        for cell in missing:
            off = np.log2(cell.recipe.optim.lr / best(Arm(*cell.arm)))
            results[cell.key] = {"validation": {"label": {"accuracy": float(0.9 - 0.01 * off**2)}}}
    return results


def cells(study=STUDY, best=lambda arm: 2e-3):
    return study.cells(results_of(study, best))


def test_cells_are_every_combination_once():
    final = cells()
    assert len(final) == 2 * 3 * 2
    assert len({(*cell.arm, cell.seed) for cell in final}) == len(final)
    assert len({cell.key for cell in final}) == len(final)
    assert len(STUDY.trials({})) == 2 * 3 * 3 * 3


def test_models_share_everything_but_the_model_and_its_learning_rate():
    final = cells(best=lambda arm: {"ResNet": 1e-3, "ViT": 4e-3}[arm.model] * (2 if arm.train_size == 30 else 1))
    by_model = {cell.arm[0]: cell.recipe for cell in final if cell.arm[1] == 30 and cell.seed == 0}
    one, other = by_model["ResNet"], by_model["ViT"]
    assert replace(one, model=other.model, optim=other.optim, name=other.name) == other
    assert (one.optim.lr, other.optim.lr) == (2e-3, 8e-3)
    assert replace(one.optim, lr=8e-3) == other.optim


def test_every_size_has_its_own_learning_rate():
    best = {30: 16e-3, 70: 2e-3, 110: 0.25e-3}
    study = STUDY
    assert study.chosen_rates(results_of(study, lambda arm: best[arm.train_size])) == {
        arm: best[arm.train_size] for arm in study.arms()
    }


@pytest.mark.parametrize(
    ("best", "tried"),
    [
        (0.02, (0.01, 0.02, 0.04)),
        (0.04, (0.01, 0.02, 0.04, 0.08)),
        (0.16, (0.01, 0.02, 0.04, 0.08, 0.16, 0.32)),
        (0.0025, (0.00125, 0.0025, 0.005, 0.01, 0.02, 0.04)),
    ],
)
def test_a_grid_goes_on_until_the_best_rate_is_inside_it(best, tried):
    assert extended((0.01, 0.02, 0.04), lambda rate: -abs(rate / best - 1)) == tried


def test_a_grid_ends_somewhere_and_waits_for_missing_scores():
    assert extended((0.01, 0.02), lambda rate: rate)[-1] == pytest.approx(0.02 * 2**6)
    assert len(extended((0.01, 0.02), lambda rate: -rate)) == 8
    assert extended((0.01, 0.02), lambda rate: None if rate == 0.01 else 1.0) == (0.01, 0.02)
    assert extended((0.01, 0.02), lambda rate: None if rate > 0.02 else rate) == (0.01, 0.02, 0.04)


@pytest.mark.parametrize(
    ("scores", "rate"),
    [
        ({0.01: 0.5, 0.02: 0.6, 0.04: 0.5}, 0.02),
        (
            {0.005: 0.2, 0.01: 0.6, 0.02: 0.6, 0.04: 0.2},
            0.0141,
        ),  # 0.01 and 0.02 tie: the middle of the two, over the logarithm
        ({0.01: 0.983, 0.02: 0.984, 0.04: 0.951}, 0.0144),  # 0.5 · (0.983 - 0.951) / (0.983 - 1.968 + 0.951) = -0.47
        ({0.01: 0.5, 0.02: 0.5, 0.04: 0.5}, 0.01),  # nothing decides: the lowest
        ({0.01: 0.5, 0.02: 0.6}, 0.02),
        ({0.01: 0.9, 0.02: 0.0, 0.04: 0.0}, 0.01),
    ],
)
def test_the_peak_of_the_parabola_is_chosen(scores, rate):
    assert peak_rate(scores) == pytest.approx(rate, rel=0.01)


def test_the_peak_is_that_of_numpy():
    rates = (0.003, 0.006, 0.012)
    scores = dict(zip(rates, (0.71, 0.79, 0.74), strict=True))
    bend, slope, _ = np.polyfit(np.log(rates), list(scores.values()), 2)
    assert peak_rate(scores) == pytest.approx(np.exp(-slope / (2 * bend)), rel=1e-2)


def test_a_trial_that_diverged_counts_as_the_worst():
    results = results_of(STUDY, lambda arm: 2e-3)
    for cell in STUDY.trials(results):
        if cell.recipe.optim.lr >= 4e-3:
            results[cell.key] = {"diverged": "the loss is not a finite number at step 1", "seconds": {"total": 1.0}}
    assert set(STUDY.chosen_rates(results).values()) == {2e-3}  # itself, and no parabola through a rate that diverged


def test_a_rate_with_a_failed_trial_is_not_chosen_for_its_easy_seeds():
    study = replace(STUDY, selection_seeds=2)
    scores = {1e-3: (0.9, 0.5), 2e-3: (0.91, 0.51), 4e-3: (0.8, None)}
    results = {}
    for cell in study.trials({}):
        if (score := scores[cell.recipe.optim.lr][cell.seed]) is not None:
            results[cell.key] = {"validation": {"label": {"accuracy": score}}}
    assert set(study.chosen_rates(results).values()) == {2e-3}


def test_tied_scores_do_not_extend_a_grid():
    assert extended((0.01, 0.02), lambda rate: 0.1) == (0.01, 0.02)
    assert extended((1e-3, 1.0001e-3), lambda rate: -rate)[0] > 0  # rates that round to one another end it


def test_runs_on_data_with_a_validation_split_of_its_own_use_their_last_step(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    labels = np.arange(60) % 3
    arrays = {}
    for name, part in (("train", slice(0, 40)), ("val", slice(40, 50)), ("test", slice(50, 60))):
        arrays |= {f"{name}_images": images[part], f"{name}_labels": labels[part]}
    np.savez(tmp_path / "own.npz", **arrays)
    data = hv.DataConfig(root=str(tmp_path / "own.npz"))
    train = hv.TrainConfig(steps=6, batch_size=8, evaluate_every=2, precision="fp32")
    study = replace(STUDY, base=replace(STUDY.base, data=data, train=train), train_sizes=(20,), learning_rates=(1e-2,))
    for cell in study.cells({}):
        assert hv.Run(cell.recipe).fit()["selected_step"] == 6


def test_trials_hold_out_images_that_they_do_not_train_on_and_leave_the_test_alone():
    trial = STUDY.trials({})[0].recipe.data
    assert (trial.validation, trial.validation_from, trial.read_test, trial.train_images) == (0.2, "all", False, 30)
    final = cells()[0].recipe.data
    assert (final.validation, final.validation_from, final.read_test, final.train_images) == (0.0, "subset", True, 30)


def test_trials_never_read_the_test_split_even_where_it_cannot_be_read(tmp_path):
    """Test images that are no images: the reported run fails on them, the trial does not meet them."""
    from PIL import Image

    for split, count in (("train", 12), ("test", 3)):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (8, 8), (17 * i, 90, 30)).save(folder / f"{i}.png")
    for file in (tmp_path / "test").rglob("*.png"):  # a header, and pixels that cannot be decoded
        content = file.read_bytes()
        start = content.index(b"IDAT") + 4
        file.write_bytes(content[:start] + b"x" * (len(content) - start - 16) + content[-16:])
    data = hv.DataConfig(root=str(tmp_path), validation=0.25)
    study = replace(STUDY, base=replace(STUDY.base, data=data), train_sizes=(8, 16))
    trial = hv.Run(study.trials({})[0].recipe)
    assert (len(trial.splits.train), len(trial.splits.validation), len(trial.splits.test)) == (8, 6, 0)
    result = trial.fit()
    assert result["test"] is None
    assert result["validation_images"] == 6
    with pytest.raises(ValueError, match=r"test.*png"):
        hv.Run(cells(study)[0].recipe)


def test_steps_may_differ_by_size():
    study = replace(STUDY, steps=(5, 6, 7))
    assert {(cell.arm[1], cell.recipe.train.steps) for cell in cells(study)} == {(30, 5), (70, 6), (110, 7)}
    assert {(cell.arm[1], cell.recipe.train.steps) for cell in study.trials({})} == {(30, 5), (70, 6), (110, 7)}


def test_variants_stand_beside_their_model_at_their_sizes():
    variant = hv.Variant(model=replace(VIT, feedforward="conv"), against="ViT", train_sizes=(30, 110))
    study = replace(STUDY, variants={"ViT, conv": variant})
    final = cells(study)
    assert len(final) == 2 * 3 * 2 + 2 * 2
    own = next(cell.recipe for cell in final if cell.arm == ("ViT, conv", 110) and cell.seed == 1)
    model = next(cell.recipe for cell in final if cell.arm == ("ViT", 110) and cell.seed == 1)
    assert replace(own, model=VIT, name=model.name) == model
    assert study.comparisons == 2


def test_twice_the_steps_have_the_same_learning_rate():
    study = replace(STUDY, double_steps_at=(70,), double_steps_seeds=1)
    doubled = study.doubled(results_of(study, lambda arm: 2e-3))
    assert [(cell.arm, cell.seed, cell.recipe.train.steps) for cell in doubled] == [
        (("ResNet", 70, "twice"), 0, 4),
        (("ViT", 70, "twice"), 0, 4),
    ]
    assert {cell.recipe.optim.lr for cell in doubled} == {2e-3}
    assert len(cells(study)) == 2 * 3 * 2 + 2


@pytest.mark.parametrize(("models", "seeds"), [(2, 6), (3, 7), (4, 7), (5, 8)])
def test_without_a_number_of_seeds_there_are_as_many_as_a_claim_needs(models, seeds):
    some = {f"model {i}": replace(VIT, depth=i + 1) for i in range(models)}
    study = replace(STUDY, models=some, reference="model 0", seeds=None)
    assert study.repetitions == seeds
    assert len(cells(study)) == models * 3 * seeds


def test_key_depends_on_every_setting():
    keys = {
        cell.key
        for study in (
            STUDY,
            replace(STUDY, base=replace(STUDY.base, train=TrainConfig(steps=3, batch_size=8))),
            replace(STUDY, models={**STUDY.models, "ViT": replace(VIT, depth=3)}),
        )
        for cell in cells(study)
        if (*cell.arm, cell.seed) == ("ViT", 30, 0)
    }
    assert len(keys) == 3


def test_cells_from_before_a_field_was_added_are_found_again():
    cell = cells()[0]
    recipe = to_dict(replace(cell.recipe, name=""))
    del recipe["data"]["validation_from"], recipe["data"]["read_test"]
    assert cell.key.endswith(hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12])


def test_the_lower_of_two_rates_that_tie_is_chosen():
    results = {cell.key: {"validation": {"label": {"accuracy": 0.5}}} for cell in STUDY.trials({})}
    assert set(STUDY.chosen_rates(results).values()) == {1e-3}


def test_a_model_whose_trials_all_failed_is_named():
    with pytest.raises(NoLearningRate, match="ResNet at 30 images"):
        STUDY.chosen_rates({})


def test_one_learning_rate_needs_no_trials():
    study = replace(STUDY, learning_rates=(3e-3,))
    assert study.trials({}) == []
    assert set(study.chosen_rates({}).values()) == {3e-3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "MLP"}, "reference 'MLP' is none of the models ResNet, ViT"),
        ({"train_sizes": (70, 30)}, "train_sizes must rise"),
        ({"seeds": 0}, "seeds must be at least 1"),
        ({"learning_rates": ()}, "learning_rates must be at least 1 long"),
        ({"learning_rates": (0.02, 0.01)}, "learning_rates must rise"),
        ({"steps": (1, 2)}, "steps has 2 values for 3 train_sizes"),
        ({"double_steps_at": (30, 30)}, "double_steps_at must rise"),
        ({"double_steps_at": (31,)}, "double_steps_at: 31 is none of train_sizes"),
        (
            {"variants": {"x": hv.Variant(model=VIT, against="MLP", train_sizes=(30,))}},
            "variant 'x' is against 'MLP', none of ResNet, ViT",
        ),
        (
            {"variants": {"x": hv.Variant(model=VIT, against="ViT", train_sizes=(31,))}},
            "train_sizes of variant 'x': 31 is none of",
        ),
        (
            {"variants": {"ViT": hv.Variant(model=VIT, against="ViT", train_sizes=(30,))}},
            "variant 'ViT' has the name of a model",
        ),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(STUDY, **change)
