"""Published data sets: small imitations of their files, and the real ones where HYBRIDVIT_DATA names them."""

import hashlib
import os
import pickle
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from PIL import Image

from hybridvit.data.sets.camvid import CLASSES, read_camvid
from hybridvit.data.sets.cifar import COARSE, COARSE_OF_FINE, FINE, read_cifar
from hybridvit.data.sets.mnist import multi_fashion_mnist, read_mnist_like
from hybridvit.data.sets.named import NAMED

RNG = np.random.default_rng(0)
DATA = Path(os.environ.get("HYBRIDVIT_DATA", ""))


def real(*files):
    there = "HYBRIDVIT_DATA" in os.environ and all((DATA / file).exists() for file in files)
    return pytest.mark.skipif(not there, reason=f"HYBRIDVIT_DATA has no {' and '.join(files)}")


def write_mnist(folder, name, train=11, test=5):
    arrays = {}
    for part, count in (("train", train), ("test", test)):
        arrays[f"{part}_images"] = RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = RNG.integers(0, 10, (count, 1))
    np.savez(folder / f"{name}.npz", **arrays)
    return arrays


@pytest.mark.parametrize("name", ["mnist", "fashionmnist"])
def test_mnist_from_npz(tmp_path, name, monkeypatch):
    arrays = write_mnist(tmp_path, name)
    monkeypatch.setenv("HYBRIDVIT_DATA", str(tmp_path))
    for splits in (NAMED[name](tmp_path), NAMED[name](None)):
        assert splits.name == name
        assert np.array_equal(splits.test.views["image"][:, 0], arrays["test_images"])
        assert splits.train.targets["label"].tolist() == arrays["train_labels"][:, 0].tolist()
        assert len(splits.columns["label"].names) == 10
        assert not len(splits.validation)


def test_mnist_as_torchvision_stores_it(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    drawn = {}
    for part, prefix, count in (("train", "train", 7), ("test", "t10k", 3)):
        images, labels = (
            RNG.integers(0, 256, (count, 28, 28), dtype=np.uint8),
            RNG.integers(0, 10, count, dtype=np.uint8),
        )
        head = np.array([0x00000803, count, 28, 28], ">i4").tobytes()
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(
            np.array([0x00000801, count], ">i4").tobytes() + labels.tobytes()
        )
        drawn[part] = images, labels
    splits = read_mnist_like(tmp_path, "fashionmnist")
    assert np.array_equal(splits.train.views["image"][:, 0], drawn["train"][0])
    assert splits.test.targets["label"].tolist() == drawn["test"][1].tolist()


def test_a_digit_and_an_item_are_overlaid(tmp_path):
    digits, items = write_mnist(tmp_path, "mnist"), write_mnist(tmp_path, "fashionmnist", train=13)
    splits = multi_fashion_mnist(tmp_path, seed=3, train_images=30, test_images=4)
    assert (len(splits.train), len(splits.test)) == (30, 4)
    assert [column.names[0] for column in splits.columns.values()] == ["0", "T-shirt/top"]
    seen = []
    for image, left, right in zip(splits.train.views["image"][:, 0], *splits.train.targets.values(), strict=True):
        found = [
            (d, i)
            for d in np.flatnonzero(digits["train_labels"][:, 0] == left)
            for i in np.flatnonzero(items["train_labels"][:, 0] == right)
            if np.array_equal(
                image,
                np.maximum(
                    np.pad(digits["train_images"][d], ((0, 8), (0, 8))),
                    np.pad(items["train_images"][i], ((8, 0), (8, 0))),
                ),
            )
        ]
        assert len(found) == 1
        seen += found
    assert sorted(d for d, _ in seen[:11]) == list(range(11))  # every digit once before any comes again
    assert sorted(i for _, i in seen[:13]) == list(range(13))
    assert len(set(seen)) > 25

    fewer = multi_fashion_mnist(tmp_path, seed=3, train_images=7, test_images=4)
    assert np.array_equal(fewer.train.views["image"], splits.train.views["image"][:7])
    other = multi_fashion_mnist(tmp_path, seed=4, train_images=7, test_images=4)
    assert not np.array_equal(fewer.train.views["image"], other.train.views["image"])
    with pytest.raises(ValueError, match="train_images must be at least 1, given 0"):
        multi_fashion_mnist(tmp_path, train_images=0)


def write_cifar(folder, name, classes):
    arrays = {}
    for part, count in (("train", 9), ("test", 5)):
        arrays[f"{part}_images"] = RNG.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = RNG.integers(0, classes, count)
    np.savez(folder / f"{name}.npz", **arrays)
    return arrays


def test_cifar_from_npz(tmp_path):
    arrays = write_cifar(tmp_path, "cifar100", 100)
    splits = NAMED["cifar100"](tmp_path)
    assert np.array_equal(splits.train.views["image"], arrays["train_images"].transpose(0, 3, 1, 2))
    assert splits.train.targets["fine"].tolist() == arrays["train_labels"].tolist()
    arrays["train_labels"][:3] = [FINE.index(name) for name in ("streetcar", "aquarium_fish", "woman")]
    np.savez(tmp_path / "cifar100.npz", **arrays)
    coarse = read_cifar(tmp_path, "cifar100").train.targets["coarse"]
    assert [COARSE[index] for index in coarse[:3]] == ["vehicles_2", "fish", "people"]
    assert np.bincount(COARSE_OF_FINE).tolist() == [5] * 20

    write_cifar(tmp_path, "cifar10", 10)
    assert list(read_cifar(tmp_path, "cifar10").columns) == ["label"]
    write_cifar(tmp_path, "cifar10", 30)
    with pytest.raises(ValueError, match=r"labels go from .* expected 0 to 9"):
        read_cifar(tmp_path, "cifar10")


def test_cifar_as_torchvision_stores_it(tmp_path, monkeypatch):
    from torchvision import datasets

    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    drawn = {}
    for part, count in (("train", 9), ("test", 5)):
        pixels = RNG.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
        labels = RNG.integers(0, 100, count).tolist()
        (folder / part).write_bytes(pickle.dumps({"data": pixels.reshape(count, -1), "fine_labels": labels}))
        drawn[part] = pixels, labels
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": list(FINE)}))
    with pytest.raises(ValueError, match="cifar-100-python cannot be read: Dataset not found or corrupted"):
        read_cifar(tmp_path, "cifar100")
    monkeypatch.setattr(datasets.CIFAR100, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.cifar, "check_integrity", lambda *arguments: True)
    splits = read_cifar(tmp_path, "cifar100")
    assert np.array_equal(splits.test.views["image"], drawn["test"][0])
    assert splits.train.targets["fine"].tolist() == drawn["train"][1]


def test_camvid(tmp_path):
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for folder in (part, f"{part}annot"):
            (tmp_path / "camvid" / folder).mkdir(parents=True)
        for index in range(count):
            image = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
            Image.fromarray(image).save(tmp_path / "camvid" / part / f"{index}.png")
            mask = np.full((13, 17), 11, np.uint8)
            mask[:10] = 3
            mask[0] = 0  # 17 pixels
            mask[1, :15] = 8
            Image.fromarray(mask).save(tmp_path / "camvid" / f"{part}annot" / f"{index}.png")
    splits = read_camvid(tmp_path)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [3, 2, 1]
    assert np.array_equal(splits.test.targets["mask"][0], np.where(mask == 11, 255, mask))
    assert np.array_equal(splits.test.views["image"][0], image.transpose(2, 0, 1))
    present = [CLASSES[index] for index in np.flatnonzero(splits.train.targets["present"][0])]
    assert present == ["sky", "road"]
    assert splits.train.targets["road_share"][2, 0] == pytest.approx((9 * 17 - 15) / (10 * 17))
    (tmp_path / "camvid" / "valannot" / "1.png").unlink()
    with pytest.raises(ValueError, match=r"valannot/1\.png cannot be read: No such file"):
        read_camvid(tmp_path / "camvid")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*arguments, **options):
        raise URLError("no way out of the tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.parametrize("name", sorted(set(NAMED) - {"digits"}))
def test_what_is_not_there_is_named_with_what_to_do(tmp_path, monkeypatch, name):
    with pytest.raises(ValueError, match=r"no .* in .*\(data\.root\).*; put there") as error:
        NAMED[name](tmp_path)
    assert "\n" not in str(error.value)
    monkeypatch.setenv("HYBRIDVIT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"nowhere \(the variable HYBRIDVIT_DATA\), which does not exist"):
        NAMED[name](None)


@pytest.mark.parametrize("name", ["cifair10", "cifair100", "camvid"])
def test_what_cannot_be_downloaded_needs_a_folder(monkeypatch, name):
    monkeypatch.delenv("HYBRIDVIT_DATA", raising=False)
    with pytest.raises(ValueError, match=r"set data\.root or the variable HYBRIDVIT_DATA"):
        NAMED[name](None)


def digest(samples):
    found = hashlib.sha256()
    for array in (*samples.views.values(), *samples.targets.values()):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


@real("mnist.npz", "fashionmnist.npz")
def test_multi_fashion_mnist_is_the_same_everywhere():
    splits = multi_fashion_mnist(DATA)
    assert (len(splits.train), len(splits.test)) == (120_000, 20_000)
    assert digest(splits.train) == "e525c9aeb5df16b7840aa4c77e6aea454b14292ac61b8c0383351527c58c3852"
    assert digest(splits.test) == "63e87a589106eb9771429ae72e9c28664e8d33e53bfc280e7a9bb43f7f184813"


@real("cifar100.npz", "cifar-100-python")
def test_names_and_groups_of_cifar100_are_the_official_ones():
    with open(DATA / "cifar-100-python" / "meta", "rb") as file:
        meta = pickle.load(file)
    assert list(FINE) == meta["fine_label_names"]
    assert list(COARSE) == meta["coarse_label_names"]
    splits = read_cifar(DATA, "cifar100")
    with np.load(DATA / "cifar100.npz") as file:
        assert np.array_equal(splits.train.targets["coarse"], file["train_coarse"])


@real("cifar10.npz")
def test_the_real_cifar10():
    splits = read_cifar(DATA, "cifar10")
    assert (splits.train.views["image"].shape, splits.test.views["image"].shape) == (
        (50_000, 3, 32, 32),
        (10_000, 3, 32, 32),
    )
    assert np.bincount(splits.train.targets["label"]).tolist() == [5000] * 10
    assert np.bincount(splits.test.targets["label"]).tolist() == [1000] * 10


@real("camvid")
def test_the_real_camvid():
    splits = read_camvid(DATA)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [367, 101, 233]
    assert splits.shapes == {"image": (3, 180, 240)}
    assert splits.train.targets["present"][:, CLASSES.index("road")].mean() > 0.99
    assert 0.2 < splits.train.targets["road_share"].mean() < 0.4
