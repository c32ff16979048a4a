"""Digits, files and folders, split for a run."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from hybridvit.data import load as datasets
from hybridvit.data.load import DataConfig
from hybridvit.data.readers.manifest import ColumnRequest


def load(config, seed):
    return datasets.load(config, seed, {"label": ColumnRequest("class")})


def rows(part):
    """Every image with its label, as bytes in a sorted list."""
    pairs = zip(part.views["image"], part.targets["label"], strict=True)
    return sorted(image.tobytes() + bytes([label % 256]) for image, label in pairs)


def test_digits_have_1437_images_to_learn_from_and_360_to_test_on():
    splits = load(DataConfig(validation=0.0), seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1437, 0, 360)
    assert splits.name == "digits"
    assert splits.columns["label"].names == tuple("0123456789")
    assert splits.shapes["image"] == (1, 8, 8)
    with_validation = load(DataConfig(), seed=0)
    assert (len(with_validation.train), len(with_validation.validation)) == (1149, 288)
    assert rows(with_validation.test) == rows(splits.test)


def test_digits_are_scikit_learns_and_every_one_is_in_one_part():
    digits = load_digits()
    pixels = np.rint(digits.images * 255 / 16).astype(np.uint8)[:, None]
    everything = sorted(image.tobytes() + bytes([label]) for image, label in zip(pixels, digits.target, strict=True))
    splits = load(DataConfig(), seed=0)
    assert sorted(rows(splits.train) + rows(splits.validation) + rows(splits.test)) == everything


def test_the_splits_are_stratified():
    splits = load(DataConfig(), seed=0)
    total = np.bincount(load_digits().target)
    for part in (splits.train, splits.validation, splits.test):
        share = len(part) / 1797
        assert np.abs(np.bincount(part.targets["label"]) - share * total).max() < 2.5


def test_the_seed_of_the_run_moves_neither_test_nor_splits():
    first, second = load(DataConfig(train_images=100), seed=0), load(DataConfig(train_images=100), seed=1)
    assert rows(first.test) == rows(second.test)
    assert rows(first.train) != rows(second.train)
    assert rows(load(DataConfig(), seed=0).train) == rows(load(DataConfig(), seed=1).train)
    other = load(DataConfig(split_seed=1), seed=0)
    assert rows(other.test) != rows(first.test)
    again = load(DataConfig(train_images=100), seed=0)
    assert np.array_equal(again.train.views["image"], first.train.views["image"])
    assert np.array_equal(again.validation.targets["label"], first.validation.targets["label"])


@pytest.mark.parametrize("seed", [0, 3])
def test_training_subsets_are_nested_and_stratified(seed):
    sizes = (10, 37, 500, 1437)
    parts = [load(DataConfig(train_images=size, validation=0.0), seed).train for size in sizes]
    total = np.bincount(parts[-1].targets["label"])
    for size, part, larger in zip(sizes, parts, parts[1:], strict=False):
        assert len(part) == size
        rest = rows(larger)
        for row in rows(part):
            rest.remove(row)  # raises where the smaller subset is no part of the larger one
        assert np.abs(np.bincount(part.targets["label"], minlength=10) - size * total / 1437).max() <= 1 + 1e-9
    assert np.bincount(parts[0].targets["label"]).tolist() == [1] * 10


def test_validation_is_taken_from_the_subset():
    alone = load(DataConfig(train_images=200, validation=0.0), seed=2)
    halved = load(DataConfig(train_images=200, validation=0.5), seed=2)
    assert (len(halved.train), len(halved.validation)) == (100, 100)
    assert sorted(rows(halved.train) + rows(halved.validation)) == rows(alone.train)


def test_shares_of_nothing():
    splits = load(DataConfig(validation=0.0, test=0.0), seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1797, 0, 0)


def test_parts_that_the_data_has_are_left_alone(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for name, n in (("train", 20), ("val", 6), ("test", 8)):
        arrays[f"{name}_images"] = rng.integers(0, 256, (n, 3, 5), dtype=np.uint8)
        arrays[f"{name}_labels"] = np.arange(n) % 2
    np.savez(tmp_path / "set.npz", **arrays)
    splits = load(DataConfig(root=str(tmp_path / "set.npz"), train_images=12), seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (12, 6, 8)
    assert np.array_equal(splits.test.views["image"][:, 0], arrays["test_images"])
    assert np.array_equal(splits.validation.targets["label"], arrays["val_labels"])


def test_a_folder_is_split_as_digits_are(tmp_path):
    for name in ("bee", "cat"):
        for number in range(10):
            path = tmp_path / name / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((4, 6), 10 * number, np.uint8)).save(path)
    splits = load(DataConfig(root=str(tmp_path), image_size=(3, 5), test=0.2, validation=0.25), seed=0)
    assert splits.shapes["image"] == (1, 3, 5)
    assert [np.bincount(part.targets["label"]).tolist() for part in (splits.train, splits.validation, splits.test)] == [
        [6, 6],
        [2, 2],
        [2, 2],
    ]


@pytest.mark.parametrize("size", [(12, 20), (5, 3), (8, 8), 11])
def test_images_are_resized_as_pil_does_bicubic_and_antialiased(size):
    plain = load(DataConfig(validation=0.0), seed=0)
    resized = load(DataConfig(validation=0.0, image_size=size), seed=0)
    height, width = (size, size) if isinstance(size, int) else size
    assert resized.shapes["image"] == (1, height, width)
    assert resized.validation.views["image"].shape == (0, 1, height, width)
    for image, original in zip(resized.test.views["image"][:50, 0], plain.test.views["image"][:50, 0], strict=True):
        expected = np.asarray(Image.fromarray(original).resize((width, height), Image.Resampling.BICUBIC))
        assert np.abs(image.astype(int) - expected).max() <= 2  # of 255: PIL rounds elsewhere
    assert np.array_equal(resized.test.targets["label"], plain.test.targets["label"])


def test_what_cannot_be_is_refused(tmp_path):
    (tmp_path / "set.txt").write_text("1,2")
    for config, message in (
        (DataConfig(root=str(tmp_path / "nowhere")), "nowhere' is not there"),
        (DataConfig(root=str(tmp_path / "set.txt")), r"set.txt' is neither a folder nor a .csv, .parquet or .npz file"),
        (DataConfig(train_images=1438), "train_images is 1438, but there are only 1437 training images"),
        (DataConfig(train_images=1, validation=0.5), "no image is left to train on"),
    ):
        with pytest.raises(ValueError, match=message):
            load(config, seed=0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"validation": 1.0}, "validation must be below 1, given 1.0"),
        ({"test": -0.1}, "test must be at least 0, given -0.1"),
        ({"train_images": 0}, "train_images must be at least 1, given 0"),
        ({"image_size": (5, 0)}, "image_size must be|image_size.1 must be"),
        ({"hide": {"label": 1.1}}, "hide.label must be at most 1, given 1.1"),
        ({"dataset": "fashionmnits"}, "did you mean fashionmnist"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**fields)
