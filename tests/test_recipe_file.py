"""Recipe files in Python and YAML, read strictly."""

from dataclasses import replace

import pytest

from hybridvit.backbones import ConvConfig, PatchConfig, ViTConfig
from hybridvit.config import to_yaml
from hybridvit.recipe import Recipe
from hybridvit.recipe_file import read_recipe

RECIPE = Recipe(name="tiny", model=ViTConfig(embed_dim=12, num_heads=4, tokenizer=PatchConfig(patch_size=4)))


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
