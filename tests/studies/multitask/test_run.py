"""A comparison of tasks is cached by what its runs are, whatever they are called."""

import json
import re
from dataclasses import replace

import pytest

from hybridvit.hydra.balance.kinds import PCGradConfig, SumConfig
from hybridvit.studies import conduct as study_run
from hybridvit.studies.cells import distinct
from hybridvit.studies.conduct import conduct
from hybridvit.studies.folder import StudyFolder
from hybridvit.studies.learning_curve.study import Study


class Silent:
    """A display that says nothing."""

    def stage(self, name, total, done, workers):
        pass

    def started(self, cell):
        pass

    def ended(self, cell, result):
        cell.summarise(result)


@pytest.fixture
def ran(monkeypatch, fake_result):
    """The cells that were run, in order; none of them really is."""
    cells, kept = [], {}

    def launch(missing, config, on_start, limit, folders=None):
        kept.update(folders or {})
        for cell in missing:
            on_start(cell)
            cells.append(cell)
            yield cell, fake_result(cell)

    monkeypatch.setattr(study_run, "launch", launch)
    cells.append(kept)
    return cells


def run(study, path):
    return conduct(study, StudyFolder(path, study), Silent())


def test_cells_are_paired_seed_by_seed(comparison):
    cells = comparison.cells({})
    assert len(cells) == 3 * 2 * (4 + 2)
    assert [cell.seed for cell in cells] == sorted(cell.seed for cell in cells)
    assert len({cell.key for cell in cells}) == len(cells)
    joint, single = (
        next(c for c in cells if c.arm[2] is None),
        next(c for c in cells if c.arm == ("ResNet", None, "ink")),
    )
    assert joint.recipe.data == single.recipe.data
    assert list(single.recipe.tasks) == ["ink"]


def test_names_are_fit_for_files(comparison):
    study = replace(comparison, trunks={"a/b c\\": comparison.trunks["ResNet"]}, balances={"x / y": SumConfig()})
    assert all(re.fullmatch(r"[\w.-]+", cell.key) for cell in study.cells({}))


def test_the_same_run_under_two_names_runs_once(comparison, ran, tmp_path):
    study = replace(comparison, balances={"sum": SumConfig(), "plain": SumConfig()}, seeds=1)
    run(study, tmp_path / "out")
    assert len(ran[1:]) == len(distinct(study.cells({}))) == 2 * (4 + 1)


def test_changing_the_study_runs_only_what_is_missing(comparison, ran, tmp_path):
    path = tmp_path / "out"
    run(comparison, path)
    assert len(ran[1:]) == 36
    run(comparison, path)
    assert len(ran[1:]) == 36
    changed = replace(
        comparison,
        title="Another title",
        base=replace(comparison.base, name="renamed"),
        balances={"plain sum": SumConfig(), "surgery": PCGradConfig()},
    )
    outcome = run(changed, path)
    new = ran[37:]
    assert len(new) == 3 * 2  # one balance on two trunks
    assert {cell.arm[1] for cell in new} == {"surgery"}
    assert len(outcome.results) == 36
    assert "Another title" in (path / "study.yaml").read_text()
    run(replace(changed, seeds=4), path)
    assert {cell.seed for cell in ran[43:]} == {3}


def test_a_changed_setting_is_another_run(comparison, ran, tmp_path):
    path = tmp_path / "out"
    run(comparison, path)
    longer = replace(comparison.base, train=replace(comparison.base.train, steps=3))
    run(replace(comparison, base=longer, seeds=1), path)
    assert len(ran[1:]) == 36 + 12


def test_joint_runs_of_the_first_seed_keep_their_folder(comparison, ran, tmp_path):
    run(comparison, tmp_path / "out")
    kept = ran[0]
    expected = {cell.key for cell in comparison.cells({}) if cell.seed == 0 and cell.arm[2] is None}
    assert set(kept) == expected
    assert all(path == tmp_path / "out" / "runs" / key for key, path in kept.items())


def test_a_folder_of_something_else_is_refused(comparison, ran, tmp_path):
    other = Study(
        title="q", base=comparison.base, models=dict(comparison.trunks), reference="ResNet", train_sizes=(30,)
    )
    StudyFolder(tmp_path / "learning", other).start()
    with pytest.raises(ValueError, match="already holds another study"):
        StudyFolder(tmp_path / "learning", comparison)
    run(comparison, tmp_path / "tasks")
    with pytest.raises(ValueError, match="already holds another study"):
        StudyFolder(tmp_path / "tasks", other)


def test_a_balance_cannot_be_called_what_single_tasks_are(comparison):
    with pytest.raises(ValueError, match="cannot be called 'alone'"):
        replace(comparison, balances={"alone": SumConfig()})


def test_results_are_kept_as_json(comparison, ran, tmp_path):
    study = replace(comparison, seeds=1)
    outcome = run(study, tmp_path / "out")
    files = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "out" / "cells").glob("*.json")}
    assert files == outcome.results
