"""ciFAIR from small imitations of its files."""

import pickle

import numpy as np
import pytest

from hybridvit.data.sets.cifar import COARSE, FINE
from hybridvit.data.sets.named import NAMED

RNG = np.random.default_rng(0)


def write(path, count, label, classes, protocol=2, text=str):
    path.parent.mkdir(exist_ok=True)
    pixels = RNG.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    labels = RNG.integers(0, classes, count).tolist()
    entry = {text("data"): pixels.reshape(count, -1), text(label): labels, text("batch_label"): "training batch"}
    path.write_bytes(pickle.dumps(entry, protocol))
    return pixels, labels


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("text", [str, str.encode])
def test_cifair10(tmp_path, protocol, text):
    batches = [
        write(tmp_path / "ciFAIR-10" / f"data_batch_{n}", n, "labels", 10, protocol, text) for n in (1, 2, 3, 4, 5)
    ]
    pixels, labels = write(tmp_path / "ciFAIR-10" / "test_batch", 7, "labels", 10, protocol, text)
    splits = NAMED["cifair10"](tmp_path)
    assert splits.name == "cifair10"
    assert splits.columns["label"].names[3] == "cat"
    assert np.array_equal(splits.test.views["image"], pixels)
    assert splits.test.targets["label"].tolist() == labels
    assert np.array_equal(splits.train.views["image"], np.concatenate([pixels for pixels, _ in batches]))
    assert splits.train.targets["label"].tolist() == [label for _, labels in batches for label in labels]
    assert not len(splits.validation)


def test_cifair100_has_groups_too(tmp_path):
    write(tmp_path / "ciFAIR-100" / "train", 11, "fine_labels", 100)
    pixels, labels = write(tmp_path / "ciFAIR-100" / "test", 5, "fine_labels", 100)
    splits = NAMED["cifair100"](tmp_path)
    assert np.array_equal(splits.test.views["image"], pixels)
    assert splits.test.targets["fine"].tolist() == labels
    fish = {FINE.index(name) for name in ("aquarium_fish", "flatfish", "ray", "shark", "trout")}
    coarse = splits.train.targets["coarse"]
    assert ((coarse == COARSE.index("fish")) == [label in fish for label in splits.train.targets["fine"]]).all()


class Evil:
    def __reduce__(self):
        return print, ("this must never be run",)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"data": Evil(), "fine_labels": [1]}, r"test cannot be read: it asks for builtins\.print, which no array"),
        ({"data": np.zeros((1, 3072), np.uint8)}, r"test has no 'fine_labels'; it has data"),
        ({"data": np.zeros((2, 3072), np.uint8), "fine_labels": [1]}, r"expected uint8 data \[n, 3072\]"),
        ({"data": np.zeros((1, 3072), np.float32), "fine_labels": [1]}, r"expected uint8 data"),
        ({"data": np.zeros((1, 3072), np.uint8), "fine_labels": ["a"]}, r"a whole number each in 'fine_labels'"),
        ({"data": np.zeros((1, 3072), np.uint8), "fine_labels": [100]}, r"labels go from 100 to 100, expected 0 to 99"),
        ([1, 2], r"test cannot be read: "),
    ],
)
def test_files_that_are_not_cifair(tmp_path, capsys, entry, message):
    write(tmp_path / "ciFAIR-100" / "train", 2, "fine_labels", 100)
    (tmp_path / "ciFAIR-100" / "test").write_bytes(pickle.dumps(entry))
    with pytest.raises(ValueError, match=message):
        NAMED["cifair100"](tmp_path)
    assert "never" not in capsys.readouterr().out


def test_a_file_that_is_cut_short_or_not_there(tmp_path):
    path = tmp_path / "ciFAIR-100" / "train"
    write(path, 3, "fine_labels", 100)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"train cannot be read: "):
        NAMED["cifair100"](tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"train cannot be read: No such file"):
        NAMED["cifair100"](tmp_path)
    path.parent.rmdir()
    with pytest.raises(ValueError, match=r"put there the folder ciFAIR-100 from its authors' page cvjena\.github\.io"):
        NAMED["cifair100"](tmp_path)
