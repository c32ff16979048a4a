"""hybridvit diagnose: the table, the page and its JSON, of test images and of one's own pictures; what it refuses."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from hybridvit.cli import DONE, WRONG, main
from hybridvit.diagnostics import attention_distance, attention_entropy, gates
from hybridvit.runs.diagnosis import middle_attention
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
    assert [line for line in lines if not line.startswith(" ")] == [lines[0], lines[4], lines[8], lines[12]]
    assert lines[0].split("  ")[0] == "Attention distance, px"
    assert lines[4].split("  ")[0] == "Attention entropy, nats"
    assert lines[8].split("  ")[0] == "Gates, σ(λ)"
    for start, columns in ((0, 3), (4, 3), (8, 2)):
        names = ["mean", "range of heads", "of uniform"][:columns]
        assert re.split(" {2,}", lines[start])[1:] == names
        rows = [re.split(" {2,}", line.strip()) for line in lines[start + 1 : start + 4]]
        assert [row[:2] for row in rows] == [["1", "GPSA"], ["2", "PSA"], ["3", "MHSA"]]
        assert [len(row) for row in rows] == [2 + columns] * 3
    assert lines[10].split()[2:] == ["–", "–"]  # PSA has no gates
    assert lines[12] == f"page: {trained / 'vit' / 'diagnosis.html'}"
    page = (trained / "vit" / "diagnosis.html").read_text(encoding="utf-8")
    assert "tiny &lt;run&gt;" in page
    assert "read on 5 images; a token stands for 2 pixels" in page
    assert page.count("<svg") == 2 * 4  # three measures, and the gates over training; light and dark
    assert 'aria-label="Gates over training"' in page
    assert "looks everywhere alike" not in page
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
    assert {name: kept["measures"][name] for name in found["measures"]} == found["measures"]
    measured = found["measures"]
    assert list(measured) == ["distance", "entropy", "gates"]
    assert {name: one["unit"] for name, one in measured.items()} == {
        "distance": "px",
        "entropy": "nats",
        "gates": "σ(λ)",
    }
    for one in measured.values():
        assert one["layers"] == ["GPSA", "PSA", "MHSA"]
        assert one["axes"] == ["layer", "head"]
    np.testing.assert_allclose(measured["distance"]["values"], 2 * expected.values)
    np.testing.assert_allclose(measured["distance"]["relative"], expected.relative)
    np.testing.assert_allclose(measured["distance"]["reference"], 2 * expected.reference)
    np.testing.assert_allclose(measured["entropy"]["values"], attention_entropy(run.net.backbone, images).values)
    np.testing.assert_allclose(measured["entropy"]["reference"], np.log([16, 16, 17]))  # the class token enters late
    np.testing.assert_allclose(measured["gates"]["values"][0], gates(run.net)[0])
    assert measured["gates"]["values"][1:] == [[None] * 4] * 2
    assert "reference" not in measured["gates"]


def test_ones_own_pictures(trained, tmp_path, capsys):
    rng = np.random.default_rng(0)
    paths = [str(tmp_path / f"{index}.png") for index in range(3)]
    for path, size in zip(paths, ((31, 17), (8, 8), (5, 40)), strict=True):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    assert main(["diagnose", str(trained / "vit"), *paths, "--json"]) == DONE
    assert json.loads(capsys.readouterr().out)["images"] == 3
    run = LoadedRun(trained / "vit")
    (maps,) = middle_attention(run, run.read([tmp_path / "0.png"]))
    assert [look.shape for look in maps] == [(4, 4)] * 3
    assert maps[0].sum() == pytest.approx(1)
    assert main(["diagnose", str(trained / "vit"), str(tmp_path / "none.png")]) == WRONG
    assert "none.png cannot be read as an image" in capsys.readouterr().err


def test_a_model_without_a_measure_is_refused(trained, capsys):
    assert main(["diagnose", str(trained / "resnet")]) == WRONG
    message = capsys.readouterr().err
    assert "no measure applies to" in message
    assert "a resnet: distance applies to models with self-attention over a grid of tokens; entropy " in message
    assert message.count("\n") == 1
    assert not (trained / "resnet" / "diagnosis.html").exists()
    assert main(["diagnose", str(trained / "vit"), "--images", "0"]) == WRONG
    assert "--images must be at least 1, given 0" in capsys.readouterr().err
    assert main(["diagnose", str(trained / "nowhere")]) == WRONG
    assert "is not a run folder" in capsys.readouterr().err
