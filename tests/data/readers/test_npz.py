"""The MedMNIST layout, right and wrong."""

import os
from pathlib import Path

import numpy as np
import pytest

from hybridvit.data.readers.npz import read_npz

RNG = np.random.default_rng(0)


def images(n, *shape):
    return RNG.integers(0, 256, (n, *(shape or (3, 5))), dtype=np.uint8)


def labels(*values):
    return np.array(values)


def save(tmp_path, **arrays):
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    return path


def test_grey_images_of_all_three_parts(tmp_path):
    arrays = {
        "train_images": images(4),
        "train_labels": labels(2, 0, 1, 2),
        "val_images": images(2),
        "val_labels": labels(0, 0),
        "test_images": images(3),
        "test_labels": labels(1, 2, 1),
    }
    splits = read_npz(save(tmp_path, **arrays))
    assert (splits.name, splits.columns["label"].names, splits.shapes["image"]) == ("set", ("0", "1", "2"), (1, 3, 5))
    for part, name in ((splits.train, "train"), (splits.validation, "val"), (splits.test, "test")):
        assert np.array_equal(part.views["image"][:, 0], arrays[f"{name}_images"])
        assert part.targets["label"].tolist() == arrays[f"{name}_labels"].tolist()
        assert (part.views["image"].dtype, part.targets["label"].dtype) == (np.uint8, np.int64)


def test_colour_images_and_labels_in_a_column(tmp_path):
    pixels = images(3, 4, 5, 3)
    column = np.array([[1], [0], [1]], dtype=np.uint8)
    splits = read_npz(save(tmp_path, train_images=pixels, train_labels=column, class_names=np.array(["ant", "bee"])))
    assert splits.columns["label"].names == ("ant", "bee")
    assert splits.shapes["image"] == (3, 4, 5)
    assert np.array_equal(splits.train.views["image"], np.moveaxis(pixels, 3, 1))
    assert splits.train.targets["label"].tolist() == [1, 0, 1]
    assert len(splits.validation) == len(splits.test) == 0
    assert splits.test.views["image"].shape == (0, 3, 4, 5)


def test_unlabelled_images_keep_the_label_minus_one(tmp_path):
    splits = read_npz(save(tmp_path, train_images=images(4), train_labels=labels(1, -1, 0, -1)))
    assert splits.train.targets["label"].tolist() == [1, -1, 0, -1]
    assert splits.columns["label"].names == ("0", "1")


GOOD = {"train_images": images(3), "train_labels": labels(0, 1, 0)}
WRONG = {
    "no train_images; it has test_images": ({"test_images": images(2)}, "no array train_images; it has test_images"),
    "no labels": ({"train_images": images(3)}, "there are train_images but no train_labels"),
    "no test labels": ({**GOOD, "test_images": images(2)}, "there are test_images but no test_labels"),
    "floats": ({**GOOD, "train_images": np.ones((3, 3, 5))}, r"must be uint8 .*given float64 \[3, 3, 5\]"),
    "flat": ({**GOOD, "train_images": images(3, 7)}, r"must be uint8 \[n, h, w\].*given uint8 \[3, 7\]"),
    "float labels": ({**GOOD, "train_labels": np.zeros(3)}, r"train_labels must be whole numbers.*float64 \[3\]"),
    "wide labels": ({**GOOD, "train_labels": np.zeros((3, 2), int)}, r"train_labels must be .*int64 \[3, 2\]"),
    "lengths": ({**GOOD, "train_labels": labels(0, 1)}, "train has 3 images, but 2 values of target 'label'"),
    "label -2": (
        {**GOOD, "train_labels": labels(0, -2, 1)},
        "label' of train, item 1: -2 in class: expected 0 to 1, or -1 for no label",
    ),
    "a class is missing": ({**GOOD, "train_labels": labels(0, 2, 0)}, "class '1' has no image in train_images"),
    "names": (
        {**GOOD, "class_names": np.array(["ant"])},
        "label' of train, item 1: 1 in class: expected 0 to 0, or -1 for no label",
    ),
    "empty": ({"train_images": images(0), "train_labels": np.zeros(0, int)}, "train has no images"),
    "shapes": (
        {**GOOD, "test_images": images(2, 5, 3), "test_labels": labels(0, 1)},
        "test images are 1 channel of 5x3 pixels, train images 1 channel of 3x5 pixels",
    ),
    "pickles": ({"train_images": np.array([[1], None], dtype=object)}, "cannot be read as .npz: .*allow_pickle"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named(tmp_path, name):
    arrays, message = WRONG[name]
    path = save(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        read_npz(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", ["text", "nothing", "one array"])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    path = tmp_path / "set.npz"
    with open(path, "wb") as file:
        if content == "one array":
            np.save(file, images(3))
        else:
            file.write(b"hello" if content == "text" else b"")
    with pytest.raises(ValueError, match=r"set.npz cannot be read as .npz"):
        read_npz(path)


def test_a_byte_wrong_anywhere_is_read_or_refused_in_words(tmp_path):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, **GOOD)
    content = path.read_bytes()
    refused = 0
    for position in range(len(content)):
        broken = bytearray(content)
        broken[position] ^= 0xFF
        path.write_bytes(broken)
        try:
            splits = read_npz(path)
            assert np.array_equal(splits.train.views["image"][:, 0], GOOD["train_images"])
        except Exception as error:
            if not (isinstance(error, ValueError) and str(path) in str(error)):
                pytest.fail(f"byte {position}: {error!r}")
            refused += 1
    assert refused > len(content) / 3


def test_fashion_mnist_as_published():
    path = Path(os.environ.get("HYBRIDVIT_DATA", "")) / "fashionmnist.npz"
    if "HYBRIDVIT_DATA" not in os.environ or not path.is_file():
        pytest.skip("needs fashionmnist.npz in the folder that HYBRIDVIT_DATA names")
    splits = read_npz(path)
    assert splits.shapes["image"] == (1, 28, 28)
    assert np.bincount(splits.train.targets["label"]).tolist() == [6000] * 10
    assert np.bincount(splits.test.targets["label"]).tolist() == [1000] * 10
    assert splits.train.views["image"].mean() / 255 == pytest.approx(0.2860, abs=1e-4)
    assert splits.train.views["image"].std() / 255 == pytest.approx(0.3530, abs=1e-4)
