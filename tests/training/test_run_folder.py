"""What a run leaves on disk, and what it refuses to touch."""

import json
import re

import pytest

from hybridvit.training.run_folder import RunFolder, device_name, revision, versions


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_run_writes_its_recipe_and_reads_its_result(tmp_path):
    run = RunFolder(tmp_path / "run", "name: tiny\n")
    assert not run.path.exists()  # nothing before the first write
    assert run.result is None
    run.start({"name": "digits"})
    run.log({"step": 1, "loss": 2.5})
    run.finish({"test": {"label": {"accuracy": 0.5}}})
    assert (run.path / "recipe.yaml").read_text() == "name: tiny\n"
    assert json.loads((run.path / "dataset.json").read_text()) == {"name": "digits"}
    assert "torch" in json.loads((run.path / "versions.json").read_text())["versions"]
    assert run.result == {"test": {"label": {"accuracy": 0.5}}}
    assert run.checkpoints == run.path / "checkpoints"


def test_a_folder_with_the_same_recipe_is_taken_up(tmp_path):
    RunFolder(tmp_path / "run", "name: tiny\n").start({})
    before = contents(tmp_path)
    RunFolder(tmp_path / "run", "name: tiny\n")
    assert contents(tmp_path) == before


def test_a_folder_with_another_recipe_is_refused_and_untouched(tmp_path):
    RunFolder(tmp_path / "run", "name: tiny\n").start({})
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="already holds a run of another recipe: choose another --out"):
        RunFolder(tmp_path / "run", "name: other\n")
    assert contents(tmp_path) == before


def test_a_folder_that_is_no_run_is_refused_and_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        RunFolder(tmp_path, "name: tiny\n")
    with pytest.raises(ValueError, match="is a file, not a folder"):
        RunFolder(tmp_path / "thesis.tex", "name: tiny\n")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    (tmp_path / "empty").mkdir()
    RunFolder(tmp_path / "empty", "name: tiny\n")


def test_rewinding_drops_later_lines_and_a_broken_last_one(tmp_path):
    run = RunFolder(tmp_path / "run", "name: tiny\n")
    run.rewind(3)  # nothing to rewind
    run.start({})
    for step in (2, 4, 4, 6):
        run.log({"step": step})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "lo')
    run.rewind(4)
    assert (run.path / "metrics.jsonl").read_text() == '{"step": 2}\n{"step": 4}\n{"step": 4}\n'
    run.log({"step": 5})
    assert json.loads((run.path / "metrics.jsonl").read_text().splitlines()[-1]) == {"step": 5}


def test_versions_revision_and_device_are_recorded():
    import platform

    import torch

    found = versions()
    assert found["python"] == platform.python_version()
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", revision())
    assert f"{torch.get_num_threads()} threads" in device_name(torch.device("cpu"))
