"""What an ablation refuses, how flags reach its rows, and how it reads back."""

from dataclasses import replace

import pytest

from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.cli.flags import apply_flags
from hybridvit.config import to_yaml
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.load import DataConfig
from hybridvit.recipe import Recipe
from hybridvit.recipe_file import read_recipe
from hybridvit.studies.ablation.study import Ablation
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.training.engine import TrainConfig

VIT = ViTConfig(embed_dim=12, depth=1, num_heads=4, tokenizer=PatchConfig(patch_size=4))
BASE = Recipe(
    name="tiny",
    model=VIT,
    data=DataConfig(hide={"label": 0.5, "ink": 0.3}),
    augment=AugmentConfig(crop_padding=2, flip=True),
    tasks={"label": ClassificationConfig(label_smoothing=0.1), "ink": RegressionConfig(target="ink")},
    train=TrainConfig(steps=7, batch_size=11, ema=0.9),
)
STUDY = Ablation(
    title="q",
    base=BASE,
    without={
        "shifts": replace(BASE, augment=replace(BASE.augment, crop_padding=0)),
        "EMA": replace(BASE, train=replace(BASE.train, ema=None)),
        "attention": replace(BASE, model=ResNetConfig(width=6)),
        "ink": replace(BASE, tasks={"label": BASE.tasks["label"]}),
    },
    baseline=replace(BASE, augment=AugmentConfig(), train=replace(BASE.train, ema=None)),
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": replace(BASE.train, steps=5)}, r"without x changes train.steps \(base 7, here 5\)"),
        ({"train": replace(BASE.train, batch_size=5)}, r"without x changes train.batch_size \(base 11, here 5\)"),
        ({"train": replace(BASE.train, evaluate_every=5)}, "changes train.evaluate_every"),
        ({"data": replace(BASE.data, train_images=50)}, r"changes data.train_images \(base None, here 50\)"),
        ({"tta": True}, r"changes tta \(base False, here True\)"),
        ({"seed": 3}, r"changes seed \(base 0, here 3\)"),
        ({}, "without x is the same recipe as base"),
        ({"name": "another"}, "without x is the same recipe as base"),
        ({"tasks": {"ink": BASE.tasks["ink"]}}, "without x has ink as its first task; .* the base's, label"),
        ({"tasks": {"label": ClassificationConfig(target="even")}}, "without x has label as its first task"),
    ],
)
def test_a_row_differs_in_its_ingredient_alone(change, message):
    row = replace(BASE, **change)
    with pytest.raises(ValueError, match=message):
        Ablation(title="q", base=BASE, without={"x": row})
    with pytest.raises(ValueError, match=message.replace("without x", "baseline")):
        Ablation(title="q", base=BASE, without=STUDY.without, baseline=row)


def test_what_else_is_refused():
    shifts = STUDY.without["shifts"]
    with pytest.raises(ValueError, match="without b is the same recipe as without a"):
        Ablation(title="q", base=BASE, without={"a": shifts, "b": shifts})
    with pytest.raises(ValueError, match="baseline is the same recipe as without a"):
        Ablation(title="q", base=BASE, without={"a": shifts}, baseline=shifts)
    with pytest.raises(ValueError, match="without must be at least 1 long"):
        Ablation(title="q", base=BASE, without={})
    with pytest.raises(ValueError, match="at least 1, given 0"):
        replace(STUDY, seeds=0)
    ink = replace(BASE, tasks={"ink": BASE.tasks["ink"]})
    with pytest.raises(ValueError, match="first task, and ink is a regression"):
        Ablation(title="q", base=ink, without={"a": replace(ink, augment=AugmentConfig())})


def test_a_flag_on_the_base_reaches_every_row():
    flags = ["--base.train.steps", "13", "--base.data.train_images=90", "--base.optim.lr", "3e-4", "--seeds", "3"]
    changed = apply_flags(STUDY, [*flags, "--launch.workers", "2"], "x")
    assert (changed.seeds, changed.launch.workers) == (3, 2)
    for row in (changed.base, *changed.without.values(), changed.baseline):
        assert (row.train.steps, row.data.train_images, row.optim.lr) == (13, 90, 3e-4)
    ema = changed.without["EMA"]
    assert ema == replace(changed.base, train=replace(changed.base.train, ema=None))


def test_a_row_keeps_what_sets_it_apart():
    flags = ["--base.augment.crop_padding", "3", "--base.train.ema", "0.8", "--base.model.depth", "2"]
    changed = apply_flags(STUDY, [*flags, "--base.tasks.label.label_smoothing", "0.2"], "x")
    assert changed.without["shifts"].augment == AugmentConfig(crop_padding=0, flip=True)
    assert changed.without["shifts"].train.ema == 0.8
    assert changed.without["EMA"].train.ema is None
    assert changed.without["EMA"].augment.crop_padding == 3
    assert changed.without["attention"].model == ResNetConfig(width=6)
    assert changed.without["EMA"].model.depth == 2
    assert changed.without["ink"].tasks == {"label": ClassificationConfig(label_smoothing=0.2)}
    assert changed.baseline.augment == AugmentConfig()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--base.augment.crop_padding", "0"], "without shifts is the same recipe as base"),
        (["--without.EMA.train.steps", "3"], "unknown field without.EMA.train.steps: did you mean base.train.steps"),
        (["--train.steps", "3"], "unknown field train.steps: did you mean base.train.steps"),
        (["--base.train.steps", "0"], "steps must be at least 1"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(flags, message):
    with pytest.raises(ValueError, match=message) as caught:
        apply_flags(STUDY, flags, "x")
    assert "\n" not in str(caught.value)


def test_no_flags_change_nothing():
    assert apply_flags(STUDY, [], "x") == STUDY


def test_yaml_gives_the_ablation_back(tmp_path):
    path = tmp_path / "study.yaml"
    for study in (STUDY, replace(STUDY, baseline=None)):
        path.write_text(to_yaml(study))
        assert read_recipe(path, "study") == study


def test_a_run_has_no_validation_share_and_hides_only_labels_that_it_reads():
    run = STUDY.run(STUDY.without["ink"], 5)
    assert (run.seed, run.data.validation, run.data.stratify) == (5, 0.0, "label")
    assert run.data.hide == {"label": 0.5}
    assert STUDY.run(BASE, 5).data.hide == {"label": 0.5, "ink": 0.3}
