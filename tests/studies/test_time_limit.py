"""A study that is given so many minutes: it stops in time, and the same command resumes."""

from dataclasses import replace

import pytest

from hybridvit.cli import DONE, FAILED, WRONG, main
from hybridvit.config import to_yaml
from hybridvit.studies import conduct as conduct_module
from hybridvit.studies.ablation.study import Ablation
from hybridvit.studies.conduct import conduct
from hybridvit.studies.folder import StudyFolder
from hybridvit.studies.multitask.study import MultiTaskStudy
from hybridvit.studies.report.study_report import write_report
from hybridvit.studies.study import LaunchConfig
from hybridvit.studies.time_limit import TimeIsUp, TimeLimit
from tests.studies.learning_curve.test_run import STUDY, Recorder

NO_TIME = LaunchConfig(backend="sequential", minutes=1e-9)


def test_a_run_begins_if_one_as_long_as_the_longest_would_end_in_time():
    now = 100.0
    limit = TimeLimit(2.0, lambda: now)
    assert limit.allows_another()  # nothing is known yet
    for seconds, end in ((30.0, 190.0), (50.0, 170.0), (10.0, 170.0)):
        limit.took(seconds)
        now = end - 0.1
        assert limit.allows_another()
        now = end
        assert not limit.allows_another()
    without = TimeLimit(None, lambda: now)
    without.took(1e9)
    assert without.allows_another()


class Few(TimeLimit):
    """Time for seven runs of a minute each."""

    def __init__(self, minutes):
        super().__init__(7.5 if minutes else None, lambda: self.now)

    now = 0.0

    def took(self, seconds):
        super().took(60.0)
        self.now += 60.0


def test_what_was_done_in_time_is_kept_and_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(conduct_module, "TimeLimit", Few)
    study = replace(STUDY, launch=replace(STUDY.launch, minutes=1.0))
    folder, first = StudyFolder(tmp_path / "out", study), Recorder()
    outcome = conduct(study, folder, first)
    assert len(first.ran) == 7
    assert (len(outcome.results), outcome.left, outcome.failed) == (7, 11, ())
    assert write_report(study, outcome).report is not None  # the first seed is complete
    second = Recorder()
    outcome = conduct(STUDY, StudyFolder(tmp_path / "out", STUDY), second)  # the limit is no part of what it is
    assert (len(second.ran), outcome.left) == (11, 0)


def test_learning_rates_are_not_chosen_from_half_the_trials(tmp_path):
    study = replace(STUDY, learning_rates=(1e-3, 2e-3), launch=NO_TIME)
    with pytest.raises(
        TimeIsUp, match="the time is up, and 24 trials are left, then all runs; the same command resumes"
    ):
        conduct(study, StudyFolder(tmp_path / "out", study), Recorder())


SHORTER = replace(STUDY.base, train=replace(STUDY.base.train, ema=0.5))
TWO = {"label": STUDY.base.tasks["label"], "even": replace(STUDY.base.tasks["label"], target="even")}


@pytest.mark.parametrize(
    ("study", "said"),
    [
        (STUDY, "no seed is complete: the time is up, and 18 runs are left; the same command resumes"),
        (
            Ablation(title="T", base=STUDY.base, without={"x": SHORTER}, seeds=2),
            "nothing can be compared: the time is up, and 4 runs are",
        ),
        (
            MultiTaskStudy(title="T", base=replace(STUDY.base, tasks=TWO), trunks={"ViT": STUDY.base.model}, seeds=2),
            "no run is complete: the time is up, and 6 runs are left",
        ),
    ],
)
def test_every_kind_of_study_says_what_is_left(study, said, tmp_path, capsys):
    (tmp_path / "study.yaml").write_text(to_yaml(study))
    words = ["study", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out"), "--launch.backend", "sequential"]
    assert main([*words, "--launch.minutes", "1e-9"]) == FAILED
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "cells").exists()


def test_the_command_goes_on_with_what_is_left(tmp_path, capsys, monkeypatch):
    (tmp_path / "study.yaml").write_text(to_yaml(replace(STUDY, launch=LaunchConfig(backend="sequential"))))
    words = ["study", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out")]
    with monkeypatch.context() as few:
        few.setattr(conduct_module, "TimeLimit", Few)
        assert main([*words, "--launch.minutes", "1"]) == FAILED
        out, err = capsys.readouterr()
        assert "report: " in out
        assert "the time is up, and 11 runs are left; the same command resumes" in err
    assert main([*words, "--launch.minutes", "60"]) == DONE
    assert len(list((tmp_path / "out" / "cells").glob("*.json"))) == 18
    assert main([*words, "--launch.minutes", "0"]) == WRONG
    assert "minutes must be above 0, given 0" in capsys.readouterr().err
