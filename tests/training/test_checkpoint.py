"""Checkpoints: whole or not at all, and every damage named."""

import contextlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from hybridvit.training import checkpoint
from hybridvit.training.checkpoint import (
    CorruptCheckpoint,
    load_optimiser,
    load_state,
    optimiser_tensors,
    others,
    read_state,
    read_tensors,
    remove,
    save_checkpoint,
    step_folders,
    write_text,
)

STATE = {"step": 7, "history": {"loss": [1.5, 0.25], "best": None}}


def tensors(seed=0):
    torch.manual_seed(seed)
    return {
        "net.weight": torch.randn(3, 5),
        "net.half": torch.randn(7).bfloat16(),
        "net.count": torch.tensor(3),
        "net.view": torch.randn(5, 3).T,
        "rng": torch.get_rng_state(),
    }


def save(folder, seed=0, state=STATE):
    save_checkpoint(folder, state, {"weight": torch.full((2,), float(seed))}, tensors(seed))
    return folder


def test_what_is_written_is_read_back_bit_for_bit(tmp_path):
    folder = save(tmp_path / "checkpoints/step_0000007")
    for key, value in read_tensors(folder, checkpoint.TRAINING).items():
        assert torch.equal(value, tensors()[key])
        assert value.dtype == tensors()[key].dtype
    assert read_tensors(folder)["weight"].tolist() == [0, 0]
    state = read_state(folder)
    assert {key: state[key] for key in STATE} == STATE
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [checkpoint.WEIGHTS, checkpoint.TRAINING, checkpoint.STATE]
    )
    assert list(folder.parent.iterdir()) == [folder]  # nothing is left over


def test_checkpoint_without_training_state(tmp_path):
    save_checkpoint(tmp_path / "best", STATE, {"weight": torch.ones(2)})
    assert read_tensors(tmp_path / "best")["weight"].tolist() == [1, 1]
    with pytest.raises(CorruptCheckpoint, match=checkpoint.TRAINING):
        read_tensors(tmp_path / "best", checkpoint.TRAINING)


def test_saving_again_replaces(tmp_path):
    save(tmp_path / "best", 1)
    save(tmp_path / "best", 2)
    assert read_tensors(tmp_path / "best")["weight"].tolist() == [2, 2]
    assert list(tmp_path.iterdir()) == [tmp_path / "best"]


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("at", range(1, 9))
def test_a_kill_while_saving_leaves_the_old_checkpoint_or_the_new(tmp_path, monkeypatch, at):
    folder, calls = save(tmp_path / "best", 1), []

    def dies(owner, name):
        original = getattr(owner, name)

        def call(*args, **kwargs):
            if "best" in str(args[0]):  # the real ones are used elsewhere too
                calls.append(name)
                if len(calls) == at:
                    raise Killed
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    dies(Path, "rename")
    dies(Path, "mkdir")
    dies(shutil, "rmtree")
    dies(checkpoint, "save_file")
    dies(checkpoint, "write_text")
    if at <= 6:  # that many calls there are, each killed in turn
        with pytest.raises(Killed):
            save(folder, 2)
    else:
        with contextlib.suppress(Killed):  # a call more or less does not matter, as long as what is read is whole
            save(folder, 2)
    monkeypatch.undo()
    assert read_tensors(folder)["weight"].tolist() in ([1, 1], [2, 2])
    save(folder, 3)
    assert read_tensors(folder)["weight"].tolist() == [3, 3]


DAMAGE = {
    "cut short": lambda content: content[:-3],
    "emptied": lambda content: b"",
    "one bit": lambda content: content[:-20] + bytes([content[-20] ^ 1]) + content[-19:],
    "first byte": lambda content: bytes([content[0] ^ 0xFF]) + content[1:],
    "appended": lambda content: content + b"x",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", [checkpoint.WEIGHTS, checkpoint.TRAINING])
def test_damaged_tensors_are_named(tmp_path, name, damage):
    folder = save(tmp_path / "step_0000007")
    path = folder / name
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(CorruptCheckpoint, match="is corrupt") as caught:
        read_tensors(folder, name)
    assert str(path) in str(caught.value)
    other = {checkpoint.WEIGHTS: checkpoint.TRAINING, checkpoint.TRAINING: checkpoint.WEIGHTS}[name]
    assert read_tensors(folder, other)


@pytest.mark.parametrize(
    "text", ["", "{", "5", "null", "[]", "{}", '{"sha256": null}', '{"sha256": {}}', b"\xff\xfe{}", None]
)
def test_damaged_state_is_named(tmp_path, text):
    folder = save(tmp_path / "step_0000007")
    path = folder / checkpoint.STATE
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CorruptCheckpoint, match="is corrupt") as caught:
        read_tensors(folder)
    assert str(folder) in str(caught.value)


def test_altered_state_is_named(tmp_path):
    folder = save(tmp_path / "step_0000007")
    path = folder / checkpoint.STATE
    path.write_text(path.read_text().replace('"step": 7', '"step": 3'))
    with pytest.raises(CorruptCheckpoint, match="is corrupt"):
        read_state(folder)


def test_others_are_the_whole_ones_newest_first(tmp_path):
    for step in (3, 11, 20, 100):
        save(tmp_path / f"step_{step:07d}")
    save(tmp_path / "best")
    (tmp_path / ".step_0000200.17").mkdir()  # left by a killed process
    damaged = tmp_path / "step_0000011" / checkpoint.WEIGHTS
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert [path.name for path in step_folders(tmp_path)] == [f"step_{step:07d}" for step in (3, 11, 20, 100)]
    assert [path.name for path in others(tmp_path / "step_0000100")] == ["step_0000020", "step_0000003", "best"]
    assert [path.name for path in others(tmp_path / "best")] == ["step_0000100", "step_0000020", "step_0000003"]
    remove(tmp_path / "step_0000020")
    assert [path.name for path in step_folders(tmp_path)] == [f"step_{step:07d}" for step in (3, 11, 100)]


def test_a_state_dict_must_fit_exactly(tmp_path):
    model = nn.Linear(2, 3)
    load_state(model, {"weight": torch.ones(3, 2), "bias": torch.zeros(3)}, tmp_path)
    assert model.weight.tolist() == [[1, 1]] * 3
    for state, message in (
        ({"weight": torch.zeros(3, 2)}, "missing: bias"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "gate": torch.zeros(1)}, "unexpected: gate"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, r"other shape: weight \[2, 3\] instead of \[3, 2\]"),
        ({f"x{i}": torch.zeros(1) for i in range(5)}, "missing: bias, weight; unexpected: x0, x1, x2 and 2 more"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            load_state(model, state, tmp_path)
        assert str(caught.value).startswith(f"{tmp_path} does not fit this model")
    assert model.weight.tolist() == [[1, 1]] * 3  # nothing was loaded in part


def test_an_optimiser_goes_on_where_it_was():
    def step(optimiser, model, seed):
        x = torch.randn(5, 2, generator=torch.Generator().manual_seed(seed))
        model(x).square().sum().backward()
        optimiser.step()
        optimiser.zero_grad()

    def fresh():
        torch.manual_seed(1)
        model = nn.Linear(2, 3)
        return model, torch.optim.AdamW(model.parameters(), lr=0.1)

    model, optimiser = fresh()
    for seed in range(3):
        step(optimiser, model, seed)
    saved = {key: value.clone() for key, value in optimiser_tensors(optimiser).items()}
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    assert set(saved) == {f"optimiser.{i}.{name}" for i in (0, 1) for name in ("step", "exp_avg", "exp_avg_sq")}
    step(optimiser, model, 3)
    again, second = fresh()
    again.load_state_dict(weights)
    load_optimiser(second, {**saved, "net.weight": torch.zeros(1)})
    step(second, again, 3)
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key])


def test_text_is_replaced_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "deep/er/state.json"
    write_text(path, json.dumps({"σ": 1}))
    monkeypatch.setattr(checkpoint.os, "replace", lambda *_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        write_text(path, "half")
    assert json.loads(path.read_text(encoding="utf-8")) == {"σ": 1}
