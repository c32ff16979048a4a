"""README tells the truth about its two commands, its files and its pictures."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = ROOT / "recipes" / "results"
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def commands():
    """The lines of README's shell blocks."""
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", README, flags=re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_ci_runs_exactly_the_test_command():
    tests = [line for line in commands() if "pytest" in line]
    assert len(tests) == 1
    assert re.search(rf"^\s*(?:\{{ )?{re.escape(tests[0])}(?:; \}}|$)", CI, flags=re.MULTILINE)


def test_ci_runs_the_main_job():
    main_job = next(line for line in commands() if "hybridvit study" in line).split("&& ")[-1]
    assert main_job in CI


def test_recipes_that_readme_names_are_there():
    named = set(re.findall(r"recipes/\w+\.py", README))
    assert named
    for name in named:
        assert (ROOT / name).is_file(), name


def test_pictures_and_links_are_there():
    targets = re.findall(r"(?:\]\(|src(?:set)?=\")([^)\"#]+)", README)
    local = [target for target in targets if not target.startswith("http")]
    assert any(target.endswith(".png") for target in local)
    for target in local:
        assert (ROOT / target).exists(), target


def means(accuracy):
    return " | ".join(f"{100 * sum(row) / len(row):.1f}" for row in accuracy)


def test_table_is_the_result_file():
    study = json.loads((RESULTS / "digits_study.json").read_text())
    for model, accuracy in study["accuracy"].items():
        worth = study["equivalence"].get(model)
        end = f"{worth['factor']:.1f}× ({worth['interval'][0]:.1f} to {worth['interval'][1]:.1f})" if worth else "1×"
        assert f"| {model} | {means(accuracy)} | {end} |" in README


def test_table_of_few_images_is_the_result_file():
    study = json.loads((RESULTS / "small_data_laptop.json").read_text())
    for model, accuracy in study["accuracy"].items():
        assert f"| {model} | {means(accuracy)} |\n" in README


PLAIN = ("r2", "cosine")  # metrics that are no shares


def row_text(study, row, alone):
    """A trunk's row in README: each task's first metric alone and together, and Δm."""

    def value(of, task, metric):
        mean = of["metrics"][task][metric]["mean"]
        return f"{mean:.3f}" if metric in PLAIN else f"{100 * mean:.1f}"

    tasks = []
    for task, metrics in study["higher_is_better"].items():
        metric = next(iter(metrics))
        tasks.append(f"{task} {value(alone, task, metric)} → {value(row, task, metric)}")
    mean, (low, high) = row["delta"]["mean"], row["delta"]["interval"]
    delta = f"{mean:+.1f} % ({low:+.1f} to {high:+.1f})".replace("-", "−")
    return f"| {row['trunk']} | {', '.join(tasks)} | {delta} |"


def test_rows_of_several_heads_are_the_result_files():
    studies = [json.loads(path.read_text()) for path in sorted((ROOT / "recipes" / "results").glob("*.json"))]
    studies = [study for study in studies if "higher_is_better" in study]
    assert len(studies) >= 4
    for study in studies:
        alone = {row["trunk"]: row for row in study["rows"] if row["balance"] is None}
        for row in study["rows"]:
            if row["balance"] is not None:
                assert row_text(study, row, alone[row["trunk"]]) in README


def signed(value):
    return f"{value:+.1f}".replace("-", "−").replace("−0.0", "+0.0")


def test_worths_are_the_result_file():
    study = json.loads((RESULTS / "what_matters.json").read_text())
    for name, row in study["without"].items():
        low, high = row["worth"]["interval"]
        accuracy = 100 * sum(row["accuracy"]) / len(row["accuracy"])
        worth = f"{signed(row['worth']['points'])} ({signed(low)} to {signed(high)})"
        assert f"| {name} | {worth} | {accuracy:.1f} |" in README


def test_what_helps_a_vit_is_the_result_file():
    study, text = json.loads((RESULTS / "what_helps_vit.json").read_text()), " ".join(README.split())
    names = {"guidance by a CNN": "guidance by a small CNN", "Muon (AdamW instead)": "Muon"}
    for name, row in study["without"].items():
        low, high = row["worth"]["interval"]
        assert f"{names.get(name, name)} {signed(row['worth']['points'])} ({signed(low)} to {signed(high)})" in text
    for accuracy, said in ((study["baseline"], "nothing added"), (study["base"], "everything")):
        assert f"{100 * sum(accuracy['accuracy']) / 3:.1f} % with {said}" in text


@pytest.mark.parametrize("model", ["hybrid", "resnet"])
def test_laptop_results_are_the_result_files(model):
    runs = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"cifar10_5k_laptop_{model}_*.json"))]
    assert runs
    first = runs[0]
    cells = [f"{first['params']:,} parameters"]
    for split in ("test", "test_tta"):
        accuracy = [100 * run[split]["label"]["accuracy"] for run in runs]
        several = f" ({min(accuracy):.1f} to {max(accuracy):.1f})" if len(runs) > 1 and split == "test" else ""
        cells.append(f"{sum(accuracy) / len(runs):.1f} %{several}")
    cells.append(f"{sum(run['seconds']['train'] for run in runs) / len(runs) / 60:.1f} min")
    assert " | ".join(cells) in README
    words = {1: "one seed", 2: "two seeds", 3: "three seeds"}[len(runs)]
    assert f"5,000 images of CIFAR-10, {first['steps']:,} steps, {words}" in README
    assert {run["steps"] for run in runs} == {first["steps"]}
