"""The command line as a person meets it, in this process."""

import json

import numpy as np
import pytest
from PIL import Image

from hybridvit.cli import COMMANDS, DONE, FAILED, WRONG, main

RECIPE = """
from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.recipe import Recipe
from hybridvit.studies.learning_curve.study import Study
from hybridvit.training.engine import TrainConfig

VIT = ViTConfig(embed_dim=12, depth=1, num_heads=4, tokenizer=PatchConfig(patch_size=4), pooling="mean")


def recipe():
    return Recipe(name="tiny", model=VIT, train=TrainConfig(steps=6, batch_size=8, log_every=2, evaluate_every=2))


def study():
    return Study(title="Tiny?", base=recipe(), models={"A": VIT, "ViT": VIT}, reference="ViT", train_sizes=(30,))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A recipe and a finished run of it."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "tiny.py").write_text(RECIPE)
    assert main(["train", str(folder / "tiny.py"), "--out", str(folder / "run"), "--optim.lr", "2e-3"]) == DONE
    return folder


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_help_names_every_command(capsys):
    assert main(["--help"]) == DONE
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"hybridvit {command} " in text


def test_run_folder_holds_what_is_promised(trained):
    run = trained / "run"
    assert "lr: 0.002" in (run / "recipe.yaml").read_text()
    steps = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if "loss" in line] == [2, 4, 6]
    assert [line["step"] for line in steps if "validation" in line] == [2, 4, 6]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best", "step_0000004", "step_0000006"]
    assert {"torch", "hybridvit", "python"} <= json.loads((run / "versions.json").read_text())["versions"].keys()
    result = json.loads((run / "result.json").read_text())
    fields = "recipe model dataset train_images image_size seed steps params test validation seconds device versions"
    assert set(fields.split()) | {"revision", "command"} <= result.keys()
    assert result["command"].startswith("hybridvit train ")


def test_recipe_yaml_reproduces_the_run_bit_for_bit(trained):
    run, again = trained / "run", trained / "again"
    assert main(["train", str(run / "recipe.yaml"), "--out", str(again)]) == DONE
    for name in ("recipe.yaml", "checkpoints/best/weights.safetensors", "checkpoints/step_0000006/weights.safetensors"):
        assert (run / name).read_bytes() == (again / name).read_bytes()
    losses = [
        [json.loads(line).get("loss") for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (run, again)
    ]
    assert losses[0] == losses[1]


def test_a_finished_run_is_not_run_again(trained, capsys):
    before = snapshot(trained / "run")
    words = ["train", str(trained / "tiny.py"), "--out", str(trained / "run"), "--optim.lr", "2e-3"]
    assert main(words) == DONE
    assert "done already" in capsys.readouterr().out
    assert snapshot(trained / "run") == before


def test_evaluate_gives_what_training_reported(trained, capsys):
    assert main(["evaluate", str(trained / "run"), "--json"]) == DONE
    said = json.loads(capsys.readouterr().out)
    result = json.loads((trained / "run" / "result.json").read_text())
    assert said["test"] == result["test"]
    assert said["images"] == 360
    assert main(["evaluate", str(trained / "run"), "--split", "validation", "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["validation"] == result["validation"]


def test_predict_reads_pictures_of_any_size(trained, capsys):
    paths = []
    for index, shape in enumerate([(8, 8), (31, 17, 3)]):
        paths.append(str(trained / f"{index}.png"))
        Image.fromarray(np.full(shape, 90, np.uint8)).save(paths[-1])
    assert main(["predict", str(trained / "run"), *paths, "--json"]) == DONE
    rows = json.loads(capsys.readouterr().out)
    assert [row["image"] for row in rows] == paths
    for row in rows:
        assert row["label"]["class"] in "0123456789"
        assert 0.1 <= row["label"]["probability"] <= 1
    assert main(["predict", str(trained / "run"), paths[0]]) == DONE
    assert " %" in capsys.readouterr().out


def test_json_is_one_object_and_nothing_else(trained, capsys):
    image = str(trained / "grey.png")
    Image.fromarray(np.full((8, 8), 90, np.uint8)).save(image)
    commands = (
        ["evaluate", "{run}"],
        ["heads", "{run}"],
        ["diagnose", "{run}", "--images", "2"],
        ["models", "cct_7_3x1"],
    )
    for words in (*commands, ["models", "--diff", "deit_tiny", "convit_tiny"], ["predict", "{run}", image]):
        assert main([word.format(run=trained / "run") for word in words] + ["--json"]) == DONE
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1
        json.loads(lines[0])


def test_a_named_model_and_another_optimiser_are_trained(trained):
    words = ["train", str(trained / "tiny.py"), "--out", str(trained / "named"), "--model", "cct_7_3x1"]
    assert main([*words, "--optim.kind", "muon", "--train.steps", "2"]) == DONE
    recipe = (trained / "named" / "recipe.yaml").read_text()
    assert "kind: muon" in recipe
    assert "kind: conv_pool" in recipe


def test_models_lists_and_counts(capsys):
    assert main(["models", "convit_t*", "--json"]) == DONE
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["name"] for row in rows] == ["convit_tiny", "convit_tiny_plus"]
    assert 5.6e6 < rows[0]["params"] < 5.8e6


def test_study_runs_and_is_not_run_again(trained, capsys):
    words = ["study", str(trained / "tiny.py"), "--out", str(trained / "study"), "--seeds", "1"]
    words += ["--launch.backend", "sequential", "--base.train.steps", "2"]
    assert main(words) == DONE
    said = capsys.readouterr()
    assert "report: " in said.out
    assert "parameters" in said.err
    cells = snapshot(trained / "study" / "cells")
    assert main(words) == DONE
    assert snapshot(trained / "study" / "cells") == cells
    assert main(["study", str(trained / "study" / "study.yaml"), "--out", str(trained / "study")]) == DONE


def test_a_corrupt_checkpoint_is_named_and_another_offered(trained, capsys):
    from shutil import copytree

    run = trained / "corrupt"
    copytree(trained / "run", run)
    weights = run / "checkpoints" / "best" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    assert main(["evaluate", str(run)]) == WRONG
    text = capsys.readouterr().err
    assert str(weights) in text
    assert "step_0000006 is whole: choose it with --checkpoint" in text
    assert main(["evaluate", str(run), "--checkpoint", "step_0000006"]) == DONE


def test_a_loss_that_is_not_finite_fails_in_one_line(trained, capsys):
    words = ["train", str(trained / "tiny.py"), "--out", str(trained / "bad"), "--optim.lr", "1e38"]
    assert main([*words, "--optim.clip_norm", "None"]) == FAILED
    text = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the loss is not a finite number at step " in text
    assert not (trained / "bad" / "result.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "unknown command 'trian': did you mean train?"),
        (["tune", "{run}"], "unknown command 'tune': it is now called finetune-head"),
        (["features", "{run}"], "unknown command 'features': it is now called cache-features"),
        (["train"], "the recipe is missing, as in: hybridvit train RECIPE"),
        (["train", "{tiny}", "--model", "convit_tny"], "there is no model 'convit_tny': did you mean convit_tiny"),
        (["train", "{tiny}", "--whiten"], "unknown field whiten: it is now called whitening_init"),
        (["finetune-head", "{run}"], "--task is missing: name one of label"),
        (["finetune-head", "{run}", "--task", "even"], "the run has no head 'even': "),
        (["finetune-head", "{run}", "--task", "a", "--kind", "regresion"], "'regresion': did you mean regression"),
        (["finetune-head", "{run}", "--task", "a", "--kind", "distillation"], "unknown kind 'distillation'"),
        (["train", "nowhere.py"], "there is no recipe nowhere.py"),
        (["train", "{tiny}", "--optim.lrr", "1"], "unknown field optim.lrr: did you mean optim.lr"),
        (["train", "--out", "x", "{tiny}"], "the recipe comes first"),
        (["train", "{tiny}", "--model.tokenizer.patch_size", "3"], "patch_size 3 does not divide the image height 8"),
        (["train", "{tiny}", "--model.attention", "gpsa", "--model.num_heads", "3"], "perfect square: given 3"),
        (["train", "{tiny}", "--data.root", "nowhere"], "data.root 'nowhere' is not there"),
        (["train", "{tiny}", "--data.train_images", "5000"], "train_images is 5000, but there are only 1437"),
        (["train", "{run}/recipe.yaml", "--out", "{run}", "--seed", "3"], "already holds a run of another recipe"),
        (["train", "{tiny}", "--out", "{tiny}"], "is a file, not a folder"),
        (["study", "{tiny}", "--seeds", "none"], "seeds"),
        (["study", "{tiny}", "--out", "{run}"], "is not empty and holds no study"),
        (["evaluate", "nowhere"], "nowhere is not a run folder"),
        (["evaluate", "{run}", "--checkpoint", "bset"], "has no checkpoint 'bset': did you mean best?"),
        (["evaluate", "{run}", "--split", "train"], "invalid choice: 'train'"),
        (["predict", "{run}", "nowhere.png"], "nowhere.png cannot be read as an image"),
        (["predict", "{run}"], "the following arguments are required: IMAGE"),
        (["models", "convti*"], "no model matches 'convti*': did you mean convit"),
        (["bench", "--quik"], "--quik"),
    ],
)
def test_a_wrong_request_is_one_line_and_changes_nothing(trained, words, message, capsys, monkeypatch):
    monkeypatch.chdir(trained)
    before = snapshot(trained)
    given = [word.format(tiny=trained / "tiny.py", run=trained / "run") for word in words]
    assert main(given) == WRONG
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    assert snapshot(trained) == before
