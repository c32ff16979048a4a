"""The report of a comparison of tasks: its numbers, its files, and that it needs nothing from outside."""

import csv
import json
from dataclasses import replace

import pytest

from hybridvit.studies.cells import distinct
from hybridvit.studies.conduct import Outcome, conduct
from hybridvit.studies.folder import StudyFolder
from hybridvit.studies.multitask.report import claim_of, lines
from hybridvit.studies.multitask.table import compare
from hybridvit.studies.report.study_report import write_report


def write(study, folder, outcome, command=""):
    """The page of a study with this outcome; None where there is nothing to report."""
    outcome = write_report(study, replace(outcome, folder=folder), command)
    return folder.path / "report.html" if outcome.report is not None else None


@pytest.fixture(scope="module")
def written(comparison, fake_result, tmp_path_factory):
    """A report of made-up results on one trunk: folder, page, study.json."""
    study = replace(comparison, trunks={"ViT / mean": comparison.trunks["ViT / mean"]})
    folder = StudyFolder(tmp_path_factory.mktemp("report") / "out", study)
    cells = distinct(study.cells({}))
    results = {cell.key: fake_result(cell, 0.04 if cell.arm[1] == "sum" else -0.04) for cell in cells}
    folder.start()
    page = write(study, folder, Outcome(folder, results, ((cells[0], "ValueError: <no>"),)), "hybridvit study x")
    return folder.path, page.read_text(encoding="utf-8"), json.loads((folder.path / "study.json").read_text())


def test_the_page_is_one_file_for_light_and_dark(written):
    _, text, _ = written
    for outside in ("http://", "https://", "<link", "<script", "@import"):
        assert outside not in text.replace("http://www.w3.org", "")
    assert "src=" not in text.replace('src="data:', "")
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert "Does &lt;one&gt; trunk do?" in text
    assert "ValueError: &lt;no&gt;" in text
    assert text.count("<svg") == 2 * (1 + 4 + 2 * 2)  # Δm, a panel for each task, conflict and its course: both themes


def test_the_page_holds_the_numbers_of_study_json(written):
    _, text, summary = written
    rows = {row["balance"]: row for row in summary["rows"]}
    assert rows[None]["delta"] is None
    for balance in ("sum", "weights of their own"):
        delta = rows[balance]["delta"]
        assert f"{delta['mean']:+.1f} %".replace("-", "−") in text
        low, high = delta["interval"]
        assert f"interval {low:+.1f} to {high:+.1f} %".replace("-", "−") in text
        assert f"{100 * rows[balance]['metrics']['label']['accuracy']['mean']:.1f}" in text
    assert rows["sum"]["delta"]["mean"] > 0 > rows["weights of their own"]["delta"]["mean"]
    assert "too few to claim significance" in text
    assert "p =" not in text


def test_tables_and_pictures_lie_beside_the_page(written):
    path, _, summary = written
    rows = list(csv.DictReader((path / "table.csv").open()))
    assert len(rows) == 3 * 7  # alone and two balances, seven metrics
    first = summary["rows"][0]["metrics"]["label"]["accuracy"]["mean"]
    assert float(rows[0]["test"]) == pytest.approx(first, abs=1e-6)
    assert rows[0]["delta_m"] == ""
    assert {row["higher_is_better"] for row in rows if row["metric"] == "mae"} == {"False"}
    for name in ("delta", "loss_0_label", "conflict_0_0", "conflict_0_1_course"):
        assert (path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    pairs = summary["conflict"][0]
    assert pairs["pairs"][0] == "label · ink"
    assert pairs["cosine"][0][0] is None  # the two never met there


def test_lines_for_a_terminal(written, comparison, fake_result):
    summary = written[2]
    study = replace(comparison, trunks={"ViT / mean": comparison.trunks["ViT / mean"]})
    results = {cell.key: fake_result(cell, 0.04 if cell.arm[1] == "sum" else -0.04) for cell in study.cells({})}
    printed = lines(study, compare(study, results))
    assert printed[0].split()[-4:] == ["label", "ink", "strokes", "centre"]
    delta = summary["rows"][1]["delta"]
    assert f"{delta['mean']:+.1f}" in printed[1]
    assert f"({delta['interval'][0]:+.1f} to {delta['interval'][1]:+.1f})".replace("-", "−") in printed[1]
    assert printed[2].startswith("ViT / mean · weights of their own")


@pytest.mark.parametrize(("seeds", "text"), [(5, "too few to claim"), (6, "8 are needed"), (9, "Claimed to")])
def test_nothing_is_called_significant_that_cannot_be(comparison, fake_result, seeds, text):
    """Two trunks with two balances are four comparisons: six seeds cannot reach 5 %."""
    study = replace(comparison, seeds=seeds)
    results = {cell.key: fake_result(cell, 0.2) for cell in study.cells({})}
    assert text in claim_of(compare(study, results))


def test_without_a_complete_seed_there_is_no_report(comparison, tmp_path):
    folder = StudyFolder(tmp_path, comparison)
    assert write(comparison, folder, Outcome(folder, {})) is None


class Silent:
    """A display that says nothing."""

    def stage(self, name, total, done, workers):
        pass

    def started(self, cell):
        pass

    def ended(self, cell, result):
        pass


def test_a_real_comparison_from_start_to_report(comparison, tmp_path):
    """Two steps on the digits, with the pictures that the joint run's heads speak of."""
    study = replace(
        comparison,
        seeds=1,
        trunks={"ViT": comparison.trunks["ViT / mean"]},
        balances={"sum": comparison.balances["sum"]},
    )
    folder = StudyFolder(tmp_path / "out", study)
    outcome = conduct(study, folder, Silent())
    assert outcome.failed == ()
    text = write(study, folder, outcome, "").read_text(encoding="utf-8")
    assert "What the heads say" in text
    assert text.count('src="data:image/png;base64,') == 12 * 3  # the picture, and the mask as predicted and as it is
    assert "What sharing saves" in text
    summary = json.loads((folder.path / "study.json").read_text())
    assert summary["rows"][1]["delta"]["interval"] == [None, None]
    assert set(summary["rows"][1]["metrics"]) <= {"label", "ink", "strokes", "centre"}
