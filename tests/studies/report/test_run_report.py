"""The report of one run with several heads."""

import json
from dataclasses import replace

import pytest

from hybridvit.config import to_yaml
from hybridvit.hydra.balance.kinds import DWAConfig
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.runs.run import Run
from hybridvit.studies.report.run_report import write_run_report
from hybridvit.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(comparison, tmp_path_factory):
    """A finished run of four heads, with a validation share and task weights."""
    path = tmp_path_factory.mktemp("runs") / "four"
    base = comparison.base
    recipe = replace(
        base, name="four <heads>", balance=DWAConfig(), data=replace(base.data, train_images=120, validation=0.2)
    )
    Run(recipe, RunFolder(path, to_yaml(recipe)), "hybridvit train four.py").fit()
    return path


def test_the_report_holds_what_the_run_found(run):
    trained = LoadedRun(run)
    page = write_run_report(run, trained, trained.load())
    text = page.read_text(encoding="utf-8")
    result = json.loads((run / "result.json").read_text())
    assert page == run / "report.html"
    assert "four &lt;heads&gt;" in text
    assert f"{100 * result['test']['label']['accuracy']:.1f} %" in text
    assert "hybridvit train four.py" in text
    for heading in ("How each task learns", "On validation images", "What each task weighs", "What the heads say"):
        assert heading in text
    for outside in ("https://", "<link", "<script", "@import"):
        assert outside not in text
    assert "src=" not in text.replace('src="data:', "")
    # panels of loss and validation for four tasks, weights, conflict and its course, each light and dark; 12 overlays
    assert text.count("<svg") == 2 * (4 + 4 + 1 + 2) + 12


def test_the_same_run_gives_the_same_page(run):
    trained = LoadedRun(run)
    first, second = (write_run_report(run, trained, trained.load()).read_text() for _ in range(2))
    assert first == second


def test_an_unfinished_run_has_no_report(run, tmp_path):
    with pytest.raises(ValueError, match=r"no result\.json yet"):
        write_run_report(tmp_path, LoadedRun(run), None)
