"""README and the pages in docs tell the truth: their commands, files, pictures, numbers and code."""

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import hybridvit as hv

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "LOG.md", "CONTRIBUTING.md")] + sorted(
    (ROOT / "docs").glob("*.md")
)
RESULTS = ROOT / "recipes" / "results"
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
MOST_WORDS = 900

# Words of our own that nobody would search for; the changelog's table of old and new names may hold them.
HOUSE_WORDS = (
    r"start values?|whitening start|mirror images|test_flips|growing images|images that grow|hybridvit tune|\bguide\b|"
    r"\baids?\b|goes on|go on where|laid_out|as_written|looks_again|pictures\.py|DESIGN\.md"
)


def blocks(kind, text=README):
    """The contents of the code blocks of a language."""
    return re.findall(rf"```{kind}\n(.*?)```", text, flags=re.DOTALL)


def commands(text=README):
    """The lines of a page's shell blocks, without comments."""
    lines = [line for block in blocks("bash", text) for line in block.splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def test_readme_is_short():
    assert len(README.split()) < MOST_WORDS


def test_ci_runs_exactly_the_test_command():
    tests = [line for line in commands() if "pytest" in line]
    assert tests == ['pip install -e ".[test]" && pytest -n auto']
    assert re.search(rf"^\s*(?:\{{ )?{re.escape(tests[0])}(?:; \}}|$)", CI, flags=re.MULTILINE)


def test_ci_runs_the_main_job():
    studies = [line for line in commands() if "pip install" in line and "hybridvit study" in line]
    assert studies == ["pip install -e . && hybridvit study recipes/digits.py"]
    assert studies[0].split("&& ")[-1] in CI


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_links_and_recipes_are_there(page):
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"(?:\]\(|src(?:set)?=\")([^)\"#]+)", text)
    for target in targets:
        assert target.startswith("http") or (page.parent / target).exists(), target
    for name in re.findall(r"recipes/\w+\.(?:py|sh)", text):
        assert (ROOT / name).is_file(), name


def test_files_that_contributing_names_are_there():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = set(re.findall(r"`([\w/]+/\w+\.py)`", page))
    assert len(paths) > 10
    for path in paths:
        places = [folder / path for folder in (ROOT, ROOT / "hybridvit")]
        assert any(place.parent.is_dir() if place.stem == "NAME" else place.is_file() for place in places), path


def test_every_page_is_linked_from_readme():
    for page in PAGES[1:]:
        assert f"({page.relative_to(ROOT)})" in README, page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_use_the_standard_terms(page):
    lines = page.read_text(encoding="utf-8").splitlines()
    text = " ".join(line for line in lines if not line.startswith("| `"))
    assert re.findall(HOUSE_WORDS, text) == []


def test_commands_are_real(capsys):
    """Every command of every page is one that ``hybridvit --help`` lists."""
    from hybridvit.cli import main

    assert main(["--help"]) == 0
    listed = set(re.findall(r"^ {2}hybridvit ([a-z-]+)", capsys.readouterr().out, flags=re.MULTILINE))
    named = {
        word
        for page in PAGES
        for line in commands(page.read_text(encoding="utf-8"))
        for word in re.findall(r"(?:^|&& )hybridvit ([a-z-]+)", line)
    }
    assert {"train", "study", "predict"} <= named <= listed


CODE = [(page, index) for page in PAGES for index in range(len(blocks("python", page.read_text(encoding="utf-8"))))]


@pytest.mark.parametrize(("page", "index"), CODE, ids=[f"{page.stem}-{index}" for page, index in CODE])
def test_code_runs(page, index, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = blocks("python", page.read_text(encoding="utf-8"))[index]
    if file := re.search(r'"(\w+\.pth)"', code):  # a checkpoint in timm's layout, at its published size
        torch.save(hv.create_model("deit_tiny", image_size=224, num_classes=1000).state_dict(), file[1])
    names = {}
    exec(compile(code, f"{page.name}, block {index}", "exec"), names)
    if "result" in names:
        assert set(names["result"]["test"]) == {"digit", "even"}
        assert names["result"]["test"]["digit"]["accuracy"] > 0.5  # chance is 0.1


def test_code_shows_arrays_a_dataset_and_a_model():
    code = blocks("python")
    for name in ("from_arrays", "from_datasets", "create_model", "load_weights", "load_run"):
        assert any(f"hv.{name}(" in block or f"hv.Splits.{name}(" in block for block in code), name


def test_digits_numbers_are_the_result_file():
    study = result("digits_study")
    factors = {model: f"{of['factor']:.1f}" for model, of in study["equivalence"].items()}
    sentence = (
        "the ViT needs {ResNet} times as many images as the ResNet, {Hybrid} times as many as the hybrid and {ConViT} "
        "times as many as the ConViT"
    )
    assert sentence.format(**factors) in TEXT
    sizes = study["train_images"]
    assert f"on {sizes[0]:,} to {sizes[-1]:,} scanned digits" in TEXT
    assert all(abs(count / 50_000 - 1) < 0.2 for count in study["params"].values())
    assert f"four models of about {50_000:,} parameters" in TEXT
    assert (len(study["accuracy"]), {len(row) for runs in study["accuracy"].values() for row in runs}) == (4, {7})
    assert "Seven paired seeds support the claim that all three are better than the ViT" in TEXT
    assert all(of["p"] <= 0.05 for of in study["equivalence"].values())


def test_laptop_numbers_are_the_result_file():
    run = result("cifar10_5k_laptop_hybrid_0")
    accuracy, minutes = 100 * run["test"]["label"]["accuracy"], run["seconds"]["train"] / 60
    assert f"reaches {accuracy:.1f} % on CIFAR-10 from {run['train_images']:,} images in {minutes:.1f} minutes" in TEXT


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("make_results", ROOT / "docs" / "make_results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_page_is_what_the_script_makes(generator):
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8") == generator.page()


def test_results_page_has_every_result_file():
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    repeats = {"what_helps_vit_cnn", "what_helps_vit_cnn_muon"}  # single runs of the teacher, one for each seed
    for path in RESULTS.glob("*.json"):
        if path.stem.rsplit("_", 1)[0] not in repeats:
            assert f"({'../recipes/results/' + path.name})" in page, path.name


def test_results_page_has_the_means_of_the_files():
    """Some rows, made from the files by other code than the generator's."""
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for name in ("digits_study", "small_data_laptop"):
        for model, runs in result(name)["accuracy"].items():
            assert f"| {model} | {' | '.join(f'{100 * np.mean(row):.1f}' for row in runs)} |" in page
    for name in ("what_matters", "what_helps_vit"):
        for row in result(name)["without"].values():
            points = np.mean(result(name)["base"]["accuracy"]) - np.mean(row["accuracy"])
            sign = "+" if points > 0 else "−"
            assert re.search(
                rf"\| {re.escape(sign)}{abs(100 * points):.1f} \([^|]+\) \| {100 * np.mean(row['accuracy']):.1f} \|",
                page,
            )
    for name in ("multi_fashion_mnist_laptop", "cifar100_coarse_fine", "camvid", "digits_heads"):
        for row in result(name)["rows"]:
            if row["balance"] is not None:
                assert f"| {row['delta']['mean']:+.1f} % (".replace("-", "−") in page
