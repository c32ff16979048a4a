"""Recipes and flags, read strictly."""

from dataclasses import replace

import pytest

from hybridvit.backbones import ConvConfig, PatchConfig, ResNetConfig, ViTConfig
from hybridvit.cli.flags import apply_flags
from hybridvit.config import to_yaml
from hybridvit.recipe import Recipe, Study
from hybridvit.recipe_file import read_recipe

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


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--optim.lrr", "1"], "unknown field optim.lrr: did you mean optim.lr"),
        (["--lr", "1"], r"unknown field lr: did you mean optim.lr\?"),
        (["--model.tokenizer.channels", "3"], "unknown field model.tokenizer.channels"),
        (["-x"], "unknown flag -x"),
        (["--optim.lr", "fast"], "optim.lr: .*fast"),
        (["--train.steps", "1.5"], "train.steps: .*1.5"),
        (["--train.precision", "fp8"], "fp8.*train.precision"),
        (["--optim.lr", "-1"], "optim: lr must be above 0, given -1.0"),
        (["--model.num_heads", "5"], "embed_dim 12 is not divisible by num_heads 5"),
        (["--model.attention", "gpsa", "--model.num_heads", "3"], "perfect square: given 3, nearest 1 or 4"),
        (["extra"], "extra"),
    ],
)
def test_wrong_flags_are_refused_in_one_line(flags, message):
    with pytest.raises(ValueError, match=message) as caught:
        apply_flags(RECIPE, flags, "x")
    assert "\n" not in str(caught.value)
    assert "│" not in str(caught.value)


def test_yaml_gives_the_recipe_back(tmp_path):
    recipe = replace(RECIPE, model=ViTConfig(tokenizer=ConvConfig(channels=(3, 5), strides=(1, 2)), embed_dim=192))
    path = tmp_path / "recipe.yaml"
    path.write_text(to_yaml(recipe))
    assert read_recipe(path, "recipe") == recipe


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def recipe(:", r"line 1: SyntaxError"),
        ("x = 1", r"has no recipe\(\) function$"),
        ("def study(): pass", r"has no recipe\(\) function, but a study\(\): hybridvit study"),
        ("def recipe():\n    return 3", "should give a Recipe, gave int"),
        ("def recipe():\n    return 1 / 0", "line 2: division by zero"),
        ("import nowhere_to_be_found", "line 1: ModuleNotFoundError"),
    ],
)
def test_a_python_recipe_with_a_fault_is_named(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_recipe(path, "recipe")


def test_a_missing_recipe_names_the_nearest(tmp_path):
    (tmp_path / "digits.py").write_text("")
    with pytest.raises(ValueError, match=r"there is no recipe .*digit.py: did you mean .*digits.py"):
        read_recipe(tmp_path / "digit.py", "recipe")


def test_a_recipe_of_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "recipe.txt").write_text("")
    with pytest.raises(ValueError, match=r"a \.py or \.yaml file"):
        read_recipe(tmp_path / "recipe.txt", "recipe")
