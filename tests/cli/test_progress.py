"""The progress of a run: lines with the time left off a terminal, a bar on one; no loss before there is one."""

import pytest

from hybridvit.cli import progress
from hybridvit.training.history import Progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that runs one second for each look at it."""
    seconds = iter(range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(seconds)))


def test_lines_tell_the_loss_the_validation_score_and_the_time_left(clock, capsys):
    with progress.training_progress(20) as on_step:
        for step in range(1, 21):
            on_step(Progress(step, None if step < 5 else step / 8, None if step < 20 else 0.5))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[0] == "step 2 of 20, 0:18 left"
    assert lines[2] == "step 6 of 20, loss 0.7500, 0:08 left"
    assert lines[-1] == "step 20 of 20, loss 2.5000, validation 50.0 %"
    assert not any("nan" in line or "None" in line for line in lines)


def test_a_resumed_run_counts_its_own_steps_only(clock, capsys):
    with progress.training_progress(100) as on_step:
        for step in range(71, 91):
            on_step(Progress(step, 1.0))
    assert capsys.readouterr().err.splitlines() == [
        "step 80 of 100, loss 1.0000, 0:02 left",
        "step 90 of 100, loss 1.0000, 0:01 left",
    ]


def test_a_bar_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with progress.training_progress(4) as on_step:
        on_step(Progress(1))
        shown = capsys.readouterr().err
        on_step(Progress(4, 0.25))
    shown += capsys.readouterr().err
    assert "4/4" in shown
    assert "loss 0.2500" in shown
    assert "nan" not in shown
    assert "None" not in shown
