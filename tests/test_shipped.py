"""The trained model that is shipped: read offline by predict and diagnose, and as good as it is said to be."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hybridvit.cli import DONE, main
from hybridvit.runs.loaded_run import LoadedRun

ROOT = Path(__file__).parent.parent
RUN = ROOT / "recipes" / "trained" / "cifar10_5k_laptop"


def test_it_is_small_and_that_of_the_result_file():
    files = [path for path in RUN.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4e6
    result = json.loads((RUN / "result.json").read_text())
    assert result == json.loads((ROOT / "recipes" / "results" / "cifar10_5k_laptop_hybrid_0.json").read_text())
    assert sum(p.numel() for p in LoadedRun(RUN).net.parameters()) == result["params"]


def test_predict_reads_it(tmp_path, capsys):
    sky = np.zeros((48, 48, 3), np.uint8) + np.array([120, 170, 230], np.uint8)
    Image.fromarray(sky).save(tmp_path / "sky.png")
    assert main(["predict", str(RUN), str(tmp_path / "sky.png"), "--json"]) == DONE
    (row,) = json.loads(capsys.readouterr().out)
    assert row["label"]["class"] in ("airplane", "bird", "ship")
    assert 0.1 < row["label"]["probability"] <= 1


def test_its_accuracy_is_what_is_said():
    """On 1,000 test images, within three standard errors."""
    root = os.environ.get("HYBRIDVIT_DATA")
    if root is None or not (Path(root) / "cifar10.npz").exists():
        pytest.skip("HYBRIDVIT_DATA names no folder with cifar10.npz")
    with np.load(Path(root) / "cifar10.npz") as file:
        images, labels = file["test_images"][:1000], file["test_labels"][:1000].reshape(-1)
    run = LoadedRun(RUN)
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    with torch.no_grad():
        logits = run.net(run.data.normalisation["image"](pixels))["label"]
    said = json.loads((RUN / "result.json").read_text())["test"]["label"]["accuracy"]
    assert (logits.argmax(1).numpy() == labels).mean() == pytest.approx(said, abs=0.04)
