"""Every recipe that is shipped builds, fits its data, and says how it is run."""

import ast
import os
from dataclasses import replace
from pathlib import Path

import pytest

from hybridvit.cli import DONE, main
from hybridvit.recipe import Recipe
from hybridvit.recipe_file import read_recipe
from hybridvit.runs.run import Run
from hybridvit.studies.ablation.study import Ablation
from hybridvit.studies.learning_curve.study import Arm, Study
from hybridvit.studies.learning_curve.text import MULTIPLY_ADDS_TOLERANCE, PARAMETER_TOLERANCE
from hybridvit.studies.multitask.study import MultiTaskStudy

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(FOLDER.glob("*.py"))


REAL = {  # where each data set lies
    "multi_fashion_mnist": "mnist.npz",
    "cifar10": "cifar10.npz",
    "cifar100": "cifar100.npz",
    "cifair10": "ciFAIR-10",
    "camvid": "camvid",
}


def made(path):
    """What the functions of a recipe give."""
    text = path.read_text()
    return [read_recipe(path, kind) for kind in ("recipe", "study") if f"def {kind}(" in text]


def small(recipe):
    """The same with fewer and cheaper samples; skips where its data is not at hand."""
    data = recipe.data
    if data.root == "FOLDER":  # the user's own: any images will do
        data = replace(data, root=None)
    if data.dataset in REAL:
        root = os.environ.get("HYBRIDVIT_DATA")
        if root is None or not (Path(root) / REAL[data.dataset]).exists():
            pytest.skip(f"HYBRIDVIT_DATA names no folder with {REAL[data.dataset]}")
        data = replace(data, train_images=60)
    if data.synthetic is not None:
        data = replace(data, synthetic=replace(data.synthetic, samples=24))
    return replace(recipe, data=data, train=replace(recipe.train, steps=1, batch_size=4))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_docstring_gives_the_command(path):
    doc = ast.get_docstring(ast.parse(path.read_text()))
    for recipe in made(path):
        command = "train" if isinstance(recipe, Recipe) else "study"
        assert f"hybridvit {command} recipes/{path.name}" in doc


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_one_step_of_every_recipe(path):
    for recipe in made(path):
        runs = [recipe]
        if isinstance(recipe, Study):
            lr = recipe.learning_rates[0]
            arms = {arm.model: arm for arm in recipe.arms()}
            runs = [recipe.run(arm, 0, lr) for arm in arms.values()]
        if isinstance(recipe, MultiTaskStudy):
            runs = [recipe.joint(trunk, balance, 0) for trunk in recipe.trunks for balance in recipe.balances]
        if isinstance(recipe, Ablation):
            runs = [recipe.run(row, 0) for row in recipe.rows().values()]
        for run in map(small, runs):
            run = Run(run)
            loss, each, present = run.trainer.update(run.trainer.train.batch(0))
            assert present.any()
            assert 0 < loss < 100
            assert each.isfinite().all()


def test_models_of_the_main_job_are_matched_in_size():
    study = read_recipe(FOLDER / "digits.py", "study")
    runs = {name: Run(study.run(Arm(name, 90), 0, 1e-3)) for name in study.models}
    reference = runs[study.reference]
    for name, run in runs.items():
        assert abs(run.params / reference.params - 1) < PARAMETER_TOLERANCE, (name, run.params)
        ratio = run.multiply_adds / reference.multiply_adds
        assert 1 / MULTIPLY_ADDS_TOLERANCE < ratio < MULTIPLY_ADDS_TOLERANCE, (name, run.multiply_adds)


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
