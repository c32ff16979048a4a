"""Runs that are interrupted: reproducible to the bit, resumable at any step, corrupt checkpoints named."""

import json
import shutil
import warnings
from dataclasses import replace

import pytest
import torch

from hybridvit.config import to_yaml
from hybridvit.runs.run import Run
from hybridvit.training import checkpoint
from hybridvit.training.checkpoint import CorruptCheckpoint
from hybridvit.training.engine import Trainer
from hybridvit.training.run_folder import RunFolder


class Interrupted(Exception):
    """Stands for a power cut."""


def stop_at(step):
    def on_step(progress):
        if progress.step == step:
            raise Interrupted

    return on_step


def start(recipe, path):
    return Run(recipe, RunFolder(path, to_yaml(recipe)), cpu=True)


def weights(run):
    return {key: value.clone() for key, value in run.trainer.evaluated.state_dict().items()}


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), f"{key} differs"


def timeless(result):
    return {key: value for key, value in result.items() if key != "seconds"}


def metrics(path):
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [timeless(line) for line in lines]


@pytest.fixture(scope="module")
def once(tiny_recipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("straight")
    run = start(tiny_recipe(), path)
    return timeless(run.fit()), weights(run), path


@pytest.fixture
def uninterrupted(once, tmp_path):
    """A run of ten steps with checkpoints at 4, 8 and 10: its result, its weights, and a copy of its folder."""
    result, final, folder = once
    return result, final, shutil.copytree(folder, tmp_path / "straight")


def test_two_runs_of_one_recipe_are_equal_to_the_bit(tiny_recipe, uninterrupted, tmp_path):
    result, final, folder = uninterrupted
    again = start(tiny_recipe(), tmp_path / "again")
    assert timeless(again.fit()) == result
    assert_equal(weights(again), final)
    assert metrics(tmp_path / "again") == metrics(folder)
    for step in (8, 10):
        name = f"checkpoints/step_{step:07d}"
        for file in (checkpoint.WEIGHTS, checkpoint.TRAINING):
            assert_equal(read(tmp_path / "again" / name, file), read(folder / name, file))
    other = Run(tiny_recipe(seed=1), cpu=True).fit()
    assert other["history"]["loss"] != result["history"]["loss"]


def read(folder, file=checkpoint.WEIGHTS):
    return checkpoint.read_tensors(folder, file)


@pytest.mark.parametrize("step", [2, 4, 5, 8, 9, 10])
def test_resuming_equals_not_having_stopped(tiny_recipe, uninterrupted, tmp_path, step):
    """With dropout, drop path, augmentation, an average of the weights and selection on validation."""
    result, final, folder = uninterrupted
    path = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        start(tiny_recipe(), path).fit(stop_at(step))
    torch.manual_seed(1234)  # another process has another random state
    resumed, taken = start(tiny_recipe(), path), []
    assert timeless(resumed.fit(lambda progress: taken.append(progress.step))) == result
    assert taken == list(range(step // 4 * 4 + 1 if step < 10 else 11, 11))
    assert_equal(weights(resumed), final)
    assert metrics(path) == metrics(folder)
    for file in (checkpoint.WEIGHTS, checkpoint.TRAINING):
        assert_equal(read(path / "checkpoints/step_0000010", file), read(folder / "checkpoints/step_0000010", file))


@pytest.mark.parametrize(("saved", "before"), [("best", True), ("best", False), ("step_0000008", True)])
def test_resuming_after_a_stop_between_two_writes(tiny_recipe, tmp_path, monkeypatch, saved, before):
    """The best checkpoint is written first, so it may be ahead of the one that training goes on from."""
    monkeypatch.setattr(Trainer, "_better", lambda *_: True)
    recipe, original = tiny_recipe(), checkpoint.save_checkpoint
    straight = start(recipe, tmp_path / "straight")
    result = timeless(straight.fit())

    def save(target, state, *tensors):
        stop = target.name == saved and state["step"] == 8
        if stop and before:
            raise Interrupted
        original(target, state, *tensors)
        if stop:
            raise Interrupted

    monkeypatch.setattr(checkpoint, "save_checkpoint", save)
    with pytest.raises(Interrupted):
        start(recipe, tmp_path / "stopped").fit()
    monkeypatch.setattr(checkpoint, "save_checkpoint", original)
    resumed = start(recipe, tmp_path / "stopped")
    assert timeless(resumed.fit()) == result
    assert_equal(weights(resumed), weights(straight))
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "straight")


def test_resuming_warns_of_nothing(tiny_recipe, tmp_path):
    with pytest.raises(Interrupted):
        start(tiny_recipe(), tmp_path).fit(stop_at(9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start(tiny_recipe(), tmp_path).fit()


def test_time_goes_on_after_an_interruption(tiny_recipe, tmp_path, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr("hybridvit.training.history.time.perf_counter", lambda: float(next(clock)))
    with pytest.raises(Interrupted):
        start(tiny_recipe(), tmp_path).fit(stop_at(9))

    def logged():
        lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
        return [line["seconds"] for line in map(json.loads, lines) if "seconds" in line]

    before = logged()
    assert 0 < before[0] < before[-1]
    run = start(tiny_recipe(), tmp_path)
    run.fit()
    assert logged() == sorted(logged())
    assert run.trainer.history.seconds > logged()[-1] > before[-1]


DAMAGE = {
    "cut short": lambda content: content[: len(content) // 2],
    "one byte": lambda content: content[:-9] + bytes([content[-9] ^ 0xFF]) + content[-8:],
    "gone": None,
}


def damage(path, kind):
    path.unlink() if kind == "gone" else path.write_bytes(DAMAGE[kind](path.read_bytes()))


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("file", [checkpoint.TRAINING, checkpoint.STATE])
def test_a_corrupt_checkpoint_is_named_and_another_offered(tiny_recipe, uninterrupted, tmp_path, file, kind):
    result, final, folder = uninterrupted
    broken = folder / "checkpoints/step_0000010"
    damage(broken / file, kind)
    (folder / "result.json").unlink()
    with pytest.raises(CorruptCheckpoint, match="step_0000008 is whole: remove the corrupt folder") as caught:
        start(tiny_recipe(), folder).fit()
    assert str(broken) in str(caught.value)
    checkpoint.remove(broken)  # as the message says
    resumed = start(tiny_recipe(), folder)
    assert timeless(resumed.fit()) == result
    assert_equal(weights(resumed), final)


def test_a_corrupt_best_checkpoint_is_named(tiny_recipe, uninterrupted):
    folder = uninterrupted[2]
    damage(folder / "checkpoints/best" / checkpoint.WEIGHTS, "one byte")
    with pytest.raises(CorruptCheckpoint, match=r"checkpoints/best/.* is corrupt.*step_0000010 is whole: start anew"):
        start(tiny_recipe(), folder).fit()


def test_when_no_checkpoint_is_whole_it_says_so(tiny_recipe, uninterrupted):
    checkpoints = uninterrupted[2] / "checkpoints"
    for path in checkpoints.rglob("*.safetensors"):
        damage(path, "one byte")
    with pytest.raises(CorruptCheckpoint, match=r"step_0000010.* is corrupt.*no other checkpoint is whole"):
        start(tiny_recipe(), uninterrupted[2]).fit()


def test_the_two_newest_checkpoints_are_kept(uninterrupted):
    names = sorted(path.name for path in (uninterrupted[2] / "checkpoints").iterdir())
    assert names == ["best", "step_0000008", "step_0000010"]


def test_a_checkpoint_of_another_model_is_refused(tiny_recipe, tiny_model, tmp_path):
    start(tiny_recipe(), tmp_path).fit()
    other = replace(tiny_recipe(), model=replace(tiny_model, mlp_ratio=3.0))
    (tmp_path / "recipe.yaml").write_text(to_yaml(other))
    with pytest.raises(ValueError, match=r"step_0000010 does not fit this model: other shape: .*feedforward"):
        start(other, tmp_path).fit()
