"""--help of a recipe, of a study and of no recipe: every field with its type, meaning and value, nothing on stderr."""

from pathlib import Path

import pytest

from hybridvit.cli import DONE, main
from hybridvit.cli.field_help import field_docs
from hybridvit.config import field_values
from hybridvit.recipe_file import read_recipe
from hybridvit.training.optimisers.kinds import SGDConfig

RECIPES = Path(__file__).parent.parent.parent / "recipes"


@pytest.fixture
def helped(capsys):
    def call(*words):
        assert main(list(words)) == DONE
        shown = capsys.readouterr()
        assert shown.err == ""
        return shown.out

    return call


@pytest.mark.parametrize(
    ("command", "name"), [("train", "digits_heads"), ("study", "digits_heads"), ("study", "digits")]
)
def test_the_fields_of_a_recipe_are_listed(helped, command, name):
    path = RECIPES / f"{name}.py"
    text = helped(command, str(path), "--help")
    assert text.startswith(f"usage: hybridvit {command} {path} [--FIELD VALUE ...]")
    recipe = read_recipe(path, "recipe" if command == "train" else "study")
    repeated = ("models.", "tasks.", "base.tasks.", "data.names", "data.hide", "base.data.hide")  # listed once a class
    for field in field_values(recipe):
        assert f"--{field}" in text or field.startswith(repeated), field


def test_types_meanings_and_values_are_shown(helped):
    text = " ".join(helped("train", str(RECIPES / "digits_heads.py"), "--help").split())
    assert "--optim.lr FLOAT highest learning rate, reached at the end of the warm-up. [now 0.003]" in text
    assert "--optim.kind adamw, muon, sgd [now adamw]" in text
    assert "--data.image_size INT|INT INT|None height and width" in text
    assert "--data.hide NAME FLOAT ... " in text
    assert "[now slant 0.67 box 0.67]" in text
    assert "tasks.loops: " in text
    assert "its fields are those of tasks.digit" in text
    assert "pretrain: " in text
    assert "[now None] --pretrain.steps INT" in text


def test_an_ablation_lists_its_base_and_not_its_rows(helped):
    text = helped("study", str(RECIPES / "what_helps_vit.py"), "--help")
    assert "--base.optim.muon_lr FLOAT" in text
    assert "without" not in text.replace("without labels", "").partition("base.model:")[0].partition("--seeds")[2]
    assert "--without" not in text
    assert "--baseline" not in text


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("train", ("--name TEXT", "--model.kind", "--train.steps INT", "--optim.lr FLOAT")),
        ("study", ("--title TEXT", "--train_sizes INT ...", "--base.train.steps INT", "--launch.workers INT|None")),
        ("finetune-head", ("--head.target TEXT", "--fresh", "--train.steps INT")),
    ],
)
def test_without_a_recipe_the_fields_of_any_are_listed(helped, command, fields):
    text = helped(command, "--help")
    for field in fields:
        assert field in text


def test_meanings_are_read_from_the_docstrings_of_a_class_and_its_bases():
    docs = field_docs(SGDConfig)
    assert docs["lr"] == "highest learning rate, reached at the end of the warm-up."
    assert docs["weight_decay"].startswith("added to the gradient")
