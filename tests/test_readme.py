"""README tells the truth about its two commands, its files and its pictures."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


def test_table_is_the_result_file():
    study = json.loads((ROOT / "recipes" / "results" / "digits_study.json").read_text())
    for model, accuracy in study["accuracy"].items():
        means = " | ".join(f"{100 * sum(row) / len(row):.1f}" for row in accuracy)
        worth = study["equivalence"].get(model)
        end = f"{worth['factor']:.1f}× ({worth['interval'][0]:.1f} to {worth['interval'][1]:.1f})" if worth else "1×"
        assert f"| {model} | {means} | {end} |" in README
