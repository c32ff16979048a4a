"""The contract of a measure, and a new measure in one new file that shows everywhere."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import hybridvit
from hybridvit import diagnostics
from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.diagnostics import Measure, Reading, measures
from hybridvit.models import create_backbone

VIT = ViTConfig(
    embed_dim=16,
    depth=3,
    num_heads=4,
    tokenizer=PatchConfig(patch_size=2),
    attention=("mhsa", "gpsa", "gpsa"),
    pooling="mean",
)


def toy(values, layers=("A", "B"), reference=None, **settings):
    return Measure(
        **{
            "name": "toy",
            "title": "Toy",
            "unit": "",
            "function": lambda model, images: Reading(values, layers, reference),
            "applies": lambda model: True,
            "models": "all",
            "caption": "",
            "definition": "",
            **settings,
        }
    )


def test_the_list_is_sorted_and_every_function_is_found_by_its_name():
    names = [measure.name for measure in measures()]
    assert names == sorted(set(names))
    assert {"distance", "entropy", "gates"} <= set(names)
    for measure in measures():
        assert getattr(hybridvit.diagnostics, measure.function.__name__) is measure.function
        assert measure.function.__name__ in diagnostics.__all__
        assert measure.caption
        assert measure.definition
        assert measure.models.startswith("models with ")
    with pytest.raises(AttributeError, match=r"has no 'gate': did you mean gates\?"):
        _ = diagnostics.gate


@pytest.mark.parametrize("name", ["distance", "entropy", "gates"])
def test_every_measure_keeps_the_contract(name):
    measure = next(measure for measure in measures() if measure.name == name)
    vit = create_backbone(VIT, image_size=8)
    reading = measure.read(vit, torch.randn(2, 3, 8, 8))
    assert reading.values.shape == (3, 4)
    assert reading.values.dtype == np.float64
    assert reading.layers == ("MHSA", "GPSA", "GPSA")
    assert vit.training
    resnet = create_backbone(ResNetConfig(depths=(1,), width=8), image_size=8)
    assert not measure.applies(resnet)
    with pytest.raises(ValueError, match=f"{name} applies to models with .*, given a ResNet"):
        measure.read(resnet, torch.randn(2, 3, 8, 8))
    if measure.probe:
        np.testing.assert_array_equal(measure.read(vit).values, reading.values)
    else:
        with pytest.raises(ValueError, match=f"{name} needs images, given none"):
            measure.read(vit)


def test_a_probe_logs_only_the_layers_that_have_a_value():
    (gates,) = [measure for measure in measures() if measure.probe]
    net = torch.nn.Module()
    net.backbone = create_backbone(VIT, image_size=8)
    reading = gates.read(net.backbone)
    assert np.isnan(reading.values[0]).all()
    assert reading.numbers == [2, 3]
    assert gates.probe_of(net) == reading.values[1:].tolist()


def test_distance_is_in_pixels():
    (distance,) = [measure for measure in measures() if measure.name == "distance"]
    vit, images = create_backbone(VIT, image_size=8), torch.randn(2, 3, 8, 8)
    patches = distance.function(vit, images)
    np.testing.assert_array_equal(distance.read(vit, images).values, 2 * patches.values)
    with pytest.raises(ValueError, match="sees an image as one token, so there is no distance"):
        distance.read(create_backbone(VIT, image_size=2), torch.randn(2, 3, 2, 2))


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (toy(np.zeros((3, 2))), "toy must have a row for each of 2 layers"),
        (toy(np.zeros(2)), "toy must have float64 values by layer and head"),
        (toy(np.zeros((2, 2), np.float32)), "toy must have float64 values by layer and head"),
        (toy(np.zeros((2, 2)), axes=("layer",)), "toy must have float64 values by layer"),
        (toy(np.zeros((2, 2)), axes=("head", "layer")), "toy must have the axes layer, or layer and head"),
        (toy(np.zeros((2, 2)), reference=np.ones(2)), "toy must have a reference exactly if it names one"),
        (toy(np.zeros((2, 2)), name="odd"), "odd must have a reference exactly if it names one"),
    ],
)
def test_a_measure_that_breaks_the_contract_is_told(measure, message):
    if measure.name == "odd":
        measure = replace(measure, reference="uniform")
    with pytest.raises(ValueError, match=message):
        measure.read(torch.nn.Identity(), torch.zeros(1))


def test_relative_is_the_share_of_the_reference():
    reading = Reading(np.array([[1.0, np.nan], [3.0, 6.0]]), ("A", "B"), np.array([2.0, 3.0]))
    np.testing.assert_array_equal(reading.relative, [[0.5, np.nan], [1.0, 2.0]])
    assert Reading(np.zeros((1, 1)), ("A",)).relative is None
    assert np.isnan(Reading(np.zeros((1, 1)), ("A",), np.zeros(1)).relative).all()


TOY = '''
"""The norm of every attention's output projection, without images, and of the first layer alone."""
import numpy as np

from hybridvit.diagnostics.measure import Measure, Reading
from hybridvit.diagnostics.record import attentions


def projection_norm(model, images=None):
    """A number of each layer."""
    norms = np.array([layer.proj.weight.detach().double().norm().item() for layer in attentions(model)])
    norms[1:] = np.nan
    return Reading(norms, tuple(type(layer).__name__ for layer in attentions(model)))


MEASURE = Measure(
    name="norm", title="Projection norm", unit="1", axes=("layer",), function=projection_norm, probe=True,
    applies=lambda model: bool(attentions(model)), models="models with attention",
    caption="How large the projection is.", definition="Frobenius norm.",
)
'''

USE = """
import contextlib, io, json, hybridvit as hv
from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.cli import main
from hybridvit.recipe import Recipe

assert hv.__file__.startswith({root!r}), hv.__file__
model = hv.create_backbone("vit_lite_7_4", image_size=8)
assert hv.diagnostics.projection_norm(model).values.shape == (7,)
assert main(["train", {recipe!r}, "--out", {run!r}]) == 0
history = json.load(open({run!r} + "/result.json"))["history"]
assert [len(reading) for reading in history["norm"]] == [1, 1, 1], history
terminal = io.StringIO()
with contextlib.redirect_stdout(terminal):
    assert main(["diagnose", {run!r}, "--images", "2"]) == 0
lines = terminal.getvalue().splitlines()
at = next(index for index, line in enumerate(lines) if line.startswith("Projection norm, 1"))
assert lines[at].split()[-1] == "value", lines[at]
assert lines[at + 1].split()[:2] == ["1", "MHSA"]
assert lines[at + 2].split()[2:] == ["–"], lines[at + 2]
"""

RECIPE = """
from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.recipe import Recipe
from hybridvit.training.engine import TrainConfig


def recipe():
    model = ViTConfig(embed_dim=16, depth=2, num_heads=2, tokenizer=PatchConfig(patch_size=2))
    return Recipe(name="toy", model=model, train=TrainConfig(steps=2, batch_size=8, log_every=1))
"""


def test_a_new_measure_is_one_new_file(tmp_path):
    shutil.copytree(Path(hybridvit.__file__).parent, tmp_path / "hybridvit", ignore=shutil.ignore_patterns("*.pyc"))
    (tmp_path / "hybridvit" / "diagnostics" / "projection_norm.py").write_text(TOY.lstrip(), encoding="utf-8")
    (tmp_path / "recipe.py").write_text(RECIPE)
    run = tmp_path / "run"
    code = USE.format(root=str(tmp_path), recipe=str(tmp_path / "recipe.py"), run=str(run))
    (tmp_path / "use.py").write_text(code, encoding="utf-8")  # a script imports from its own folder first
    done = subprocess.run(
        [sys.executable, str(tmp_path / "use.py")], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    kept = json.loads((run / "diagnosis.json").read_text(encoding="utf-8"))["measures"]["norm"]
    assert (kept["unit"], kept["axes"], kept["layers"]) == ("1", ["layer"], ["MHSA", "MHSA"])
    assert kept["values"][0] > 0
    assert kept["values"][1] is None
    page = (run / "diagnosis.html").read_text(encoding="utf-8")
    for text in ("<h2>Projection norm</h2>", "How large the projection is.", "Frobenius norm.", "norm over training"):
        assert text in page
