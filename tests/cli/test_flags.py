"""Flags change fields, by the fields' own types, and are checked like a configuration in Python."""

from dataclasses import replace

import pytest

from hybridvit.backbones import ConvConfig, PatchConfig, ResNetConfig, ViTConfig
from hybridvit.cli.flags import apply_flags
from hybridvit.hydra.balance.kinds import FixedConfig, PCGradConfig
from hybridvit.models import model_config
from hybridvit.recipe import Recipe
from hybridvit.runs.stage_config import PretrainConfig
from hybridvit.studies.ablation.study import Ablation
from hybridvit.studies.learning_curve.study import Study
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.training.optimisers.kinds import AdamWConfig, MuonConfig, SGDConfig

RECIPE = Recipe(name="tiny", model=ViTConfig(embed_dim=12, num_heads=4, tokenizer=PatchConfig(patch_size=4)))


def test_flags_change_fields_and_nothing_else():
    flags = ["--optim.lr", "3e-4", "--model.tokenizer.patch-size=2", "--data.skip_unreadable", "--model.depth", "3"]
    expected = replace(
        RECIPE,
        optim=replace(RECIPE.optim, lr=3e-4),
        data=replace(RECIPE.data, skip_unreadable=True),
        model=replace(RECIPE.model, tokenizer=PatchConfig(patch_size=2), depth=3),
    )
    assert apply_flags(RECIPE, flags, "x") == expected
    assert apply_flags(RECIPE, [], "x") == RECIPE


def test_flags_take_tuples_none_and_unions():
    changed = apply_flags(RECIPE, ["--data.image_size", "8", "12", "--optim.clip_norm", "None"], "x")
    assert changed.data.image_size == (8, 12)
    assert changed.optim.clip_norm is None
    assert apply_flags(RECIPE, ["--data.image_size", "32"], "x").data.image_size == 32


def test_flags_reach_the_models_of_a_study():
    study = Study(
        title="q", base=RECIPE, models={"A": ResNetConfig(), "B": RECIPE.model}, reference="B", train_sizes=(30,)
    )
    changed = apply_flags(study, ["--models.A.width", "13", "--seeds", "3", "--base.train.steps", "7"], "x")
    assert (changed.models["A"].width, changed.seeds, changed.base.train.steps) == (13, 3, 7)
    assert changed.models["B"] == RECIPE.model


def test_flags_take_mappings_pairs_and_switches():
    changed = apply_flags(RECIPE, ["--data.hide", "label", "0.5", "--progressive.sizes", "0", "4", "0.5", "8"], "x")
    assert changed.data.hide == {"label": 0.5}
    assert changed.progressive.sizes == ((0.0, 4), (0.5, 8))
    assert apply_flags(changed, ["--data.hide.label", "0.25"], "x").data.hide == {"label": 0.25}
    assert apply_flags(RECIPE, ["--tta"], "x").tta
    assert not apply_flags(replace(RECIPE, tta=True), ["--no-tta"], "x").tta
    assert not apply_flags(RECIPE, ["--model.no-qkv-bias"], "x").model.qkv_bias
    assert apply_flags(RECIPE, ["--model.attention", "mhsa", "lsa", "mhsa", "--model.depth=3"], "x").model.depth == 3


def test_the_kind_of_any_union_can_be_switched_and_shared_fields_stay():
    recipe = replace(RECIPE, optim=AdamWConfig(lr=3e-3, weight_decay=0.7, beta2=0.9))
    assert apply_flags(recipe, ["--optim.kind", "muon", "--optim.muon_lr", "0.5"], "x").optim == MuonConfig(
        lr=3e-3, weight_decay=0.7, beta2=0.9, muon_lr=0.5
    )
    sgd = apply_flags(recipe, ["--optim.momentum", "0.8", "--optim.kind=sgd"], "x").optim
    assert sgd == SGDConfig(lr=3e-3, weight_decay=0.7, momentum=0.8)
    assert apply_flags(recipe, ["--balance.kind", "pcgrad"], "x").balance == PCGradConfig()
    weights = ["--balance.kind", "fixed", "--balance.weights", "label", "2"]
    assert apply_flags(recipe, weights, "x").balance == FixedConfig(weights={"label": 2.0})
    conv = ["--model.tokenizer.channels", "24", "12", "--model.tokenizer.strides", "2", "2"]
    changed = apply_flags(recipe, [*conv, "--model.tokenizer.kind", "conv"], "x").model
    assert changed == replace(RECIPE.model, tokenizer=ConvConfig(channels=(24, 12), strides=(2, 2)))
    assert apply_flags(recipe, ["--tasks.label.kind", "regression"], "x").tasks == {
        "label": RegressionConfig(target="label")
    }


def test_a_named_model_stands_for_its_configuration_and_further_flags_apply_to_it():
    changed = apply_flags(RECIPE, ["--model.drop_path", "0.2", "--model", "deit_tiny"], "x")
    assert changed.model == replace(model_config("deit_tiny"), drop_path=0.2)
    study = Study(title="q", base=RECIPE, models={"A-1": RECIPE.model}, reference="A-1", train_sizes=(30,))
    changed = apply_flags(study, ["--models.A-1", "resnet18", "--models.A-1.width", "8"], "x")
    assert changed.models == {"A-1": replace(model_config("resnet18"), width=8)}


def test_a_flag_below_what_is_none_sets_it_and_none_takes_it_away():
    changed = apply_flags(RECIPE, ["--pretrain.steps", "7"], "x")
    assert changed.pretrain == PretrainConfig(steps=7)
    assert apply_flags(changed, ["--pretrain", "None"], "x") == RECIPE


def test_flags_of_the_base_reach_rows_of_another_kind_in_the_fields_that_both_have():
    base = replace(RECIPE, optim=MuonConfig())
    rows = {"Muon": replace(base, optim=AdamWConfig()), "ViT": replace(base, model=ResNetConfig(width=8))}
    study = Ablation(title="q", base=base, without=rows)
    changed = apply_flags(study, ["--base.optim.lr", "0.5", "--base.model.num_heads", "2"], "x")
    assert changed.without["Muon"].optim == AdamWConfig(lr=0.5)
    assert changed.without["ViT"].model == ResNetConfig(width=8)
    changed = apply_flags(study, ["--base.optim.kind", "sgd"], "x")
    assert (changed.base.optim, changed.without["Muon"].optim) == (SGDConfig(), AdamWConfig())
    assert changed.without["ViT"].optim == SGDConfig()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--optim.lrr", "1"], r"^unknown field optim.lrr: did you mean optim.lr"),
        (["--lr", "1"], r"^unknown field lr: did you mean optim.lr\?$"),
        (["--model.tokenizer.channels", "3"], "^unknown field model.tokenizer.channels: patch has none, but kind conv"),
        (["--tasks.labl.hidden", "3"], r"^unknown field tasks.labl.hidden: did you mean tasks.label.hidden\?$"),
        (["--seed.x", "3"], "^unknown field seed.x: "),
        (["-x"], "^unknown flag -x"),
        (["extra"], "^unexpected argument 'extra'"),
        (["--optim.lr", "fast"], "^optim.lr must be a number, given 'fast'$"),
        (["--optim.lr", "1", "2"], "^optim.lr must be a number, given"),
        (["--optim.lr"], "^optim.lr is given without a value$"),
        (["--optim.lr", "-1"], "^optim.lr must be above 0, given -1.0$"),
        (["--data.image_size", "8", "x"], "^data.image_size.1 must be an integer, given 'x'$"),
        (["--model.attention", "mhsa", "gpas"], "^model.attention.1 must be .*: did you mean gpsa"),
        (["--optim.lr", "nan"], "^optim.lr must be a finite number, given nan$"),
        (["--train.steps", "1.5"], "^train.steps must be an integer, given 1.5$"),
        (["--train.precision", "fp8"], "^train.precision must be auto, fp32 or bf16, given 'fp8': did you mean fp32"),
        (["--model.position", "lerned"], "^model.position must be learned, .*given 'lerned': did you mean learned\\?$"),
        (["--model.num_heads", "5"], "^model: embed_dim 12 is not divisible by num_heads 5"),
        (["--model.attention", "gpsa", "--model.num_heads", "3"], "perfect square: given 3, nearest 1 or 4"),
        (["--model", "deit_tny"], "model.*deit_tny.*did you mean deit_tiny"),
        (["--optim.kind", "mun"], r"^optim.kind is 'mun': did you mean muon\?$"),
        (["--whiten"], "^unknown field whiten: it is now called whitening_init$"),
        (["--guide.steps", "3"], "^unknown field guide.steps: it is now called teacher$"),
        (["--test_flips"], "^unknown field test_flips: it is now called tta$"),
        (["--optim.kind", "sgd", "--optim.beta1", "0.8"], "^unknown field optim.beta1: it is now called momentum$"),
        (["--views.fusion", "ground"], "^views.fusion must be .*: it is now called bev$"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(flags, message):
    with pytest.raises(ValueError, match=message) as caught:
        apply_flags(RECIPE, flags, "x")
    assert "\n" not in str(caught.value)
    assert "│" not in str(caught.value)
