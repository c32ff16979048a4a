"""Every recipe that is shipped builds, fits its data, and says how it is run."""

import ast
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hybridvit.build.runs import Run
from hybridvit.cli import DONE, main
from hybridvit.recipe import Recipe, Study
from hybridvit.request import read_recipe
from hybridvit.studies.report import PARAMETER_TOLERANCE

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.glob("*.py"))


def made(path):
    kind = "study" if "def study(" in path.read_text() else "recipe"
    return read_recipe(path, kind)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_docstring_gives_the_command(path):
    doc = ast.get_docstring(ast.parse(path.read_text()))
    command = "study" if isinstance(made(path), Study) else "train"
    assert f"hybridvit {command} recipes/{path.name}" in doc


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_one_step_of_every_recipe(path):
    recipe = made(path)
    runs = [recipe]
    if isinstance(recipe, Study):
        runs = [recipe.run(model, recipe.train_sizes[0], 0, recipe.learning_rates[0], False) for model in recipe.models]
    for run in runs:
        assert isinstance(run, Recipe)
        if run.data.root == "FOLDER":  # the user's own: any images will do
            run = replace(run, data=replace(run.data, root=None))
        short = replace(run, train=replace(run.train, steps=1, batch_size=4))
        history = Run(short).fit()["history"]
        assert 0 < history["loss"][0] < 100


def test_models_of_the_main_job_are_matched_in_size():
    study = read_recipe(FOLDER / "digits.py", "study")
    params = {name: Run(study.run(name, 90, 0, 1e-3, False)).params for name in study.models}
    for name, count in params.items():
        assert abs(count / params[study.reference] - 1) < PARAMETER_TOLERANCE, (name, params)


def test_convit_of_the_main_job_differs_from_the_vit_in_one_field():
    models = read_recipe(FOLDER / "digits.py", "study").models
    assert replace(models["ConViT"], attention=models["ViT"].attention) == models["ViT"]


def test_own_images_wants_a_folder(capsys):
    assert main(["train", str(FOLDER / "own_images.py")]) == 2
    assert "data.root 'FOLDER' is not there" in capsys.readouterr().err


def test_own_images_on_real_data(tmp_path):
    root = os.environ.get("HYBRIDVIT_DATA")
    if root is None or not (Path(root) / "flowers5").is_dir():
        pytest.skip("HYBRIDVIT_DATA names no folder with flowers5/CLASS/*.jpg")
    flowers = str(Path(root) / "flowers5")
    words = ["train", str(FOLDER / "own_images.py"), "--data.root", flowers, "--out", str(tmp_path / "run")]
    assert main([*words, "--train.steps", "3", "--data.image_size", "32"]) == DONE
