"""hybridvit diagnose: the table, the page and its JSON, of test images and of one's own pictures; what it refuses."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from hybridvit.cli import DONE, WRONG, main
from hybridvit.diagnostics import attention_distance, gates
from hybridvit.runs.diagnosis import middle_looks
from hybridvit.runs.loaded_run import LoadedRun

RECIPE = """
from hybridvit.backbones import PatchConfig, ResNetConfig, StagesConfig, ViTConfig
from hybridvit.recipe import Recipe
from hybridvit.training.engine import TrainConfig

VIT = ViTConfig(
    embed_dim=16, depth=3, num_heads=4, attention=("gpsa", "psa", "mhsa"), class_token_layer=2,
    tokenizer=PatchConfig(patch_size=2),
)


def recipe():
    return Recipe(name="tiny <run>", model={model}, train=TrainConfig(steps=2, batch_size=8, log_every=1))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("diagnose")
    for name, model in (("vit", "VIT"), ("resnet", "ResNetConfig(depths=(1,), width=4)")):
        (folder / f"{name}.py").write_text(RECIPE.replace("{model}", model))
        assert main(["train", str(folder / f"{name}.py"), "--out", str(folder / name)]) == DONE
    return folder


def test_the_table_and_the_page(trained, capsys):
    assert main(["diagnose", str(trained / "vit"), "--images", "5"]) == DONE
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:4]] == [["1", "GPSA"], ["2", "PSA"], ["3", "MHSA"]]
    assert lines[1].endswith(")")  # its gates
    assert lines[2].endswith("–")
    assert lines[4] == f"page: {trained / 'vit' / 'diagnosis.html'}"
    page = (trained / "vit" / "diagnosis.html").read_text(encoding="utf-8")
    assert "tiny &lt;run&gt;" in page
    assert "read on 5 images; a token stands for 2 pixels" in page
    assert "Do the gates close?" in page
    assert page.count("data:image/png;base64") == 4 * (1 + 3)


def test_the_numbers_are_those_of_the_measures(trained, capsys):
    assert main(["diagnose", str(trained / "vit"), "--json", "--images", "7"]) == DONE
    found = json.loads(capsys.readouterr().out)
    kept = json.loads((trained / "vit" / "diagnosis.json").read_text(encoding="utf-8"))
    run = LoadedRun(trained / "vit")
    chosen = np.sort(np.random.default_rng(0).permutation(360)[:7])
    images = run.data.normalisation["image"](torch.from_numpy(run.load().test.views["image"][chosen]))
    expected = attention_distance(run.net.backbone, images)
    assert (found["images"], found["stride"]) == (7, 2)
    for index, layer in enumerate(found["layers"]):
        assert kept["layers"][index] == layer
        assert layer["distance"] == pytest.approx(2 * expected.distance[index])
        assert layer["relative"] == pytest.approx(expected.relative[index])
    assert found["layers"][0]["gates"] == pytest.approx(gates(run.net)[0])
    assert found["layers"][1]["gates"] is None
    assert found["uniform"] == pytest.approx(2 * expected.uniform)


def test_ones_own_pictures(trained, tmp_path, capsys):
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"{index}.png") for index in range(3)]
    for path, size in zip(paths, ((31, 17), (8, 8), (5, 40)), strict=True):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    assert main(["diagnose", str(trained / "vit"), *paths, "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["images"] == 3
    run = LoadedRun(trained / "vit")
    (maps,) = middle_looks(run, run.read([tmp_path / "0.png"]))
    assert [look.shape for look in maps] == [(4, 4)] * 3
    assert maps[0].sum() == pytest.approx(1)
    assert main(["diagnose", str(trained / "vit"), str(tmp_path / "none.png")]) == WRONG
    assert "none.png cannot be read as an image" in capsys.readouterr().err


def test_what_has_no_attention_is_refused(trained, capsys):
    assert main(["diagnose", str(trained / "resnet")]) == WRONG
    assert "has no self-attention to look into: its model is a resnet" in capsys.readouterr().err
    assert not (trained / "resnet" / "diagnosis.html").exists()
    assert main(["diagnose", str(trained / "vit"), "--images", "0"]) == WRONG
    assert "--images must be at least 1, given 0" in capsys.readouterr().err
    assert main(["diagnose", str(trained / "nowhere")]) == WRONG
    assert "is not a run folder" in capsys.readouterr().err
