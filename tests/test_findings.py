"""The numbers on the findings page are those of the result files."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from hybridvit.studies.learning_curve.crossover import crossover, overtakes
from hybridvit.studies.learning_curve.equivalence import equivalence
from hybridvit.studies.statistics import mean_interval

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "findings.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())


def result(name):
    return json.loads((ROOT / "recipes" / "results" / f"{name}.json").read_text())


def test_links_and_pictures_are_there():
    targets = re.findall(r"\]\(([^)]+)\)", PAGE)
    assert len(targets) >= 3
    for target in targets:
        assert (ROOT / "docs" / target).exists(), target


def test_equivalent_images_on_the_digits():
    study = result("digits_study")
    sizes = np.array(study["train_images"], float)
    errors = {model: 1 - np.array(values) for model, values in study["accuracy"].items()}
    factors = {model: f"{equivalence(sizes, errors['ViT'], errors[model]).value:.1f} times" for model in errors}
    sentence = (
        "the ViT needs {ResNet} the images of a ResNet, {Hybrid} those of a hybrid and {ConViT} those of a ConViT."
    )
    assert sentence.format(**factors) in TEXT
    lead = (errors["Hybrid"] - errors["ConViT"]).mean(axis=1)
    assert (np.sign(lead) == [-1, -1, -1, 1]).all()
    assert "ConViT is behind the hybrid up to 570 images on average and ahead at 1,437" in TEXT
    assert overtakes(sizes, errors["Hybrid"], errors["ConViT"])
    assert crossover(sizes, errors["Hybrid"], errors["ConViT"]) is None
    assert "seven seeds do not resolve a crossing either" in TEXT
    assert len(study["seeds"]) == 7
    assert all(one["p"] <= 0.05 for one in study["equivalence"].values())
    first, *_, last = study["equivalence"]["ResNet"]["by_size"]
    assert f"at 90 images the ResNet is worth {first['factor']:.1f} times the images" in TEXT
    assert last["bound"] == "at least"


def test_ten_times_the_images_in_a_short_run():
    accuracy = result("small_data_laptop")["accuracy"]
    gains = [100 * (np.mean(many) - np.mean(few)) for few, many in accuracy.values()]
    means = {model: 100 * np.mean(runs, axis=1) for model, runs in accuracy.items()}
    few, many = means["ConViT"] - means["ViT"]
    assert f"ConViT is {few:.1f} points ahead with 500 images, the ViT {-many:.1f} with 5,000." in TEXT
    for size in range(2):
        last = sorted(means, key=lambda model: means[model][size])[:2]
        assert set(last) == {"ConViT", "ViT"}
    assert f"Ten times the images add between {min(gains):.1f} and {max(gains):.1f} points" in TEXT


def points(study):
    """What each ingredient adds, in points, the largest first."""
    return {name: row["effect"]["points"] for name, row in study["without"].items()}


def reaching_zero(study):
    """Ingredients whose interval reaches 0."""
    return {
        n.split()[0]
        for n, row in study["without"].items()
        if not mean_interval(np.array(row["effect"]["by_seed"])).sign
    }


def test_effect_of_ingredients():
    study = result("what_matters")
    effects = points(study)
    assert list(effects)[:2] == ["whitening initialisation", "Muon (AdamW instead)"]
    whitening, muon, *_, cutmix, resizing = effects.values()
    assert list(effects)[-2:] == ["CutMix", "progressive resizing"]
    assert f"{study['train_images']:,} images and {study['steps']} steps" in TEXT
    assert f"whitening initialisation adds {whitening:.1f} points and Muon {muon:.1f}." in TEXT
    assert reaching_zero(study) == {"attention", "cutout", "crops"}
    assert "The intervals of attention, cutout, and crops and flips reach 0." in TEXT
    assert f"CutMix costs {-cutmix:.1f} and progressive resizing costs {-resizing:.1f}." in TEXT


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("hybrid", "It reaches {:.1f} % on CIFAR-10 from 5,000 images"),
        ("resnet", "A ResNet with as many parameters and the same time per step reaches {:.1f} %."),
    ],
)
def test_laptop_runs(model, sentence):
    run = result(f"cifar10_5k_laptop_{model}_0")
    assert sentence.format(100 * run["test"]["label"]["accuracy"]) in TEXT
    if model == "hybrid":
        assert f"in {run['seconds']['train'] / 60:.1f} minutes" in TEXT


def test_what_sharing_costs():
    alone, together = result("digits_heads")["rows"]
    delta = f"{together['delta']['mean']:.1f}".replace("-", "−")
    assert f"Δm is {delta} %" in TEXT
    degrees = [f"{row['metrics']['slant']['mae']['mean']:.1f}" for row in (alone, together)]
    assert f"the error of the slant is {degrees[0]} degrees alone and {degrees[1]} degrees together." in TEXT
    joint = [row["delta"]["mean"] for row in result("multi_fashion_mnist_laptop")["rows"] if row["balance"]]
    assert f"sharing costs {min(-d for d in joint):.1f} to {max(-d for d in joint):.1f} %" in TEXT


def listed(numbers, digits):
    *first, last = [f"{number:.{digits}f}" for number in numbers]
    return f"{', '.join(first)} and {last}"


def test_gates_and_distances():
    run, measures = result("cifar10_convit_0"), result("cifar10_convit_diagnosis")["measures"]
    distance, gates = measures["distance"], measures["gates"]["values"]
    start, *_, end = run["history"]["gates"]
    assert f"({100 * run['test']['label']['accuracy']:.1f} %, one seed)" in TEXT
    assert f"they go from {np.mean(start):.2f} to {listed([np.mean(layer) for layer in end], 2)}." in TEXT
    assert np.allclose(gates[:5], end, atol=1e-3)
    assert f"pixels, and end at {listed([np.mean(layer) for layer in distance['values'][:5]], 1)}." in TEXT
    assert np.mean(distance["relative"][5]) == pytest.approx(1, abs=0.01)


def test_what_helps_a_vit():
    study = result("what_helps_vit")
    effects = points(study)
    assert [name.split()[0] for name in effects] == ["teacher", "Muon", "whitening", "masked"]
    teacher, muon, whitening, pretraining = effects.values()
    base, nothing = (100 * np.mean(study[name]["accuracy"]) for name in ("base", "baseline"))
    steps, images = study["steps"], study["train_images"]
    assert (
        f"reaches {nothing:.1f} % on CIFAR-10 after {steps} steps on {images:,} images, and {base:.1f} % with four"
        in TEXT
    )
    assert f"accuracy falls by {teacher:.1f} points. Muon is worth {muon:.1f} and whitening" in TEXT
    assert f"whitening initialisation {whitening:.1f}. Masked pre-training" in TEXT
    assert f"is worth {pretraining:.1f}." in TEXT
    assert reaching_zero(study) == {"whitening", "masked"}
    assert "The intervals of the last two reach 0, so neither is shown to help." in TEXT
    sentences = {"cnn": "reaches {:.1f} % itself", "cnn_muon": "reaches {:.1f} % alone, with 78,042 parameters"}
    for name, sentence in sentences.items():
        runs = [result(f"what_helps_vit_{name}_{seed}") for seed in range(3)]
        assert [run["seed"] for run in runs] == [0, 1, 2]
        assert {run["params"] for run in runs} == {78_042}
        assert sentence.format(100 * np.mean([run["test"]["label"]["accuracy"] for run in runs])) in TEXT
