"""Manifests with something wrong: one line that names the rows, the files and what is near."""

import csv
import warnings

import numpy as np
import pytest
from PIL import Image

from hybridvit.data.readers.manifest import ColumnRequest, read_manifest

RNG = np.random.default_rng(0)
H, W = 5, 7


def picture(path, height=H, width=W, **options):
    array = RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(array).save(path, **options)
    return array


def manifest(folder, header, rows, name="set.csv"):
    """A manifest with a picture for every image cell that has none yet."""
    for row in rows:
        for column, cell in zip(header, row, strict=True):
            if column.startswith("image") and cell and not (folder / cell).exists():
                picture(folder / cell)
    with open(folder / name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / name


def read(path, image_size=None, skip_unreadable=False, **wanted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        requests = {
            name: ColumnRequest(*(request if isinstance(request, tuple) else (request,)))
            for name, request in wanted.items()
        }
        return read_manifest(path, requests, image_size, skip_unreadable)


def targets(folder, kind, cells, names=None):
    """What a column of these cells becomes, all rows in training."""
    path = manifest(folder, ["image", "y"], [[f"{i}.png", cell] for i, cell in enumerate(cells)])
    splits = read(path, y=(kind, names))
    return splits.columns["y"], splits.train.targets["y"]


def test_unreadable_files(tmp_path):
    path = manifest(tmp_path, ["image", "y"], [[f"{i}.png", i % 2] for i in range(9)])
    for index in (1, 2, 3, 4, 5, 6):
        (tmp_path / f"{index}.png").write_bytes(b"no picture")
    (tmp_path / "6.png").unlink()
    whole = (tmp_path / "7.png").read_bytes()
    (tmp_path / "7.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ValueError, match=r"7 files cannot be read: .*1\.png \(no known.*and 2 more; in rows 3, 4"
    ) as error:
        read(path, y="class")
    assert "skip_unreadable" in str(error.value)
    with pytest.warns(UserWarning, match="skipped 7 rows"):
        splits = read_manifest(path, {"y": ColumnRequest("class")}, skip_unreadable=True)
    assert splits.train.targets["y"].tolist() == [0, 0]
    assert np.array_equal(splits.train.views["image"][1], np.asarray(Image.open(tmp_path / "8.png")).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("kind", "cells", "names", "message"),
    [
        ("class", ["cat", "dgo"], ("cat", "dog"), r"row 3, column 'y': 'dgo' is none .* did you mean dog\?"),
        ("class", ["0", "2"], ("cat", "dog"), "row 3, column 'y': '2' is none of the 2 classes"),
        ("class", ["cat", "x", "cat", "x"], ("cat",), r"row 3.*\(also row 5\)"),
        ("class", ["", ""], None, "column 'y' has not one label in the training rows"),
        ("multilabel", ["a|b", "a|"], None, "row 3.*empty class name"),
        ("multilabel", ["a|b", "a|c"], ("a", "b"), "row 3.*'c' is none"),
        ("multilabel", ["a", "b|b"], None, "row 3.*twice"),
        ("numbers", ["1", "nan"], None, "row 3.*'nan' is no finite number; leave the cell empty"),
        ("numbers", ["1", "inf"], None, "row 3.*no finite number"),
        ("numbers", ["1", "1e39"], None, "row 3.*no finite number"),
        ("numbers", ["1", "[NaN]"], None, "row 3.*NaN is no finite number; write null"),
        ("numbers", ["1", "1_000"], None, "row 3.*'1_000' is no number"),
        ("numbers", ["1", "1,5"], None, "row 3.*'1,5' is no number"),
        ("numbers", ["[1, 2]", "[1]"], None, "row 3.*1 numbers given, expected 2"),
        ("numbers", ['{"a": 1}', '{"b": 1}'], None, "row 3.*'b' is none of the 1 names"),
        ("points", ["[[1, 2]]", "[[8, 2]]"], None, r"row 3.*point \[8, 2\] is outside the image, 5 pixels high and 7"),
        ("points", ["[[1, 2]]", "[[1]]"], None, "row 3.*no point"),
        ("boxes", ['[["a", 1, 1, 2, 2]]', '[["a", 1, 1, 2, 6]]'], None, r"row 3.*\[1, 1, 2, 6\] is outside"),
        ("boxes", ['[["a", 1, 1, 2, 2]]', '[["a", 2, 2, 1, 1]]'], None, "row 3.*has no area"),
        ("boxes", ['[["a", 1, 1, 2, 2]]', '[["a", 1, 2, 2, 2]]'], None, "row 3.*has no area"),
        ("boxes", ['[["a", 1, 1, 2, 2]]', '[["b", 1, 1, 2, 2]]'], ("a",), "row 3.*'b' is none of the 1 classes"),
        ("boxes", ["[]", "b.json"], ("a",), "row 3.*b.json cannot be read: No such file"),
        ("boxes", ["[]", '[{"klass": 1}]'], ("a",), "row 3.*keys class and box"),
        ("boxes", ["[]", "[["], ("a",), "row 3.*no valid JSON"),
    ],
)
def test_bad_cells_are_named_by_row(tmp_path, kind, cells, names, message):
    with pytest.raises(ValueError, match=message) as error:
        targets(tmp_path, kind, cells, names)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("mask", "names", "message"),
    [
        (
            np.zeros((W, H), np.uint8),
            None,
            "row 2.*the mask is 7 pixels high and 5 wide, its image 5 pixels high and 7",
        ),
        (np.full((H, W), 4, np.uint8), ("a", "b"), "row 2.*class index 4 in .* not below 2"),
        (np.zeros((H, W, 3), np.uint8), None, r"1 file cannot be read: .*mode RGB, expected 8-bit class indices"),
        (
            np.where(np.arange(W) < 3, 255, 0) * np.ones((H, 1)),
            None,
            "255 means unlabelled: save the second class as 1",
        ),
    ],
)
def test_bad_masks(tmp_path, mask, names, message):
    Image.fromarray(mask.astype(np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(ValueError, match=message):
        read(manifest(tmp_path, ["image", "y"], [["a.png", "m.png"]]), y=("mask", names))


@pytest.mark.parametrize(
    ("header", "rows", "wanted", "message"),
    [
        (["image", "label"], [["a.png", "x"]], {"lable": "class"}, r"no target column 'lable'; did you mean label\?"),
        (["image"], [["a.png"]], {"label": "class"}, "no target column 'label', and no other one"),
        (
            ["image", "p:a", "p:b"],
            [["a.png", 1, 2]],
            {"p": ("numbers", ("a", "bb"))},
            r"no column p:bb; did you mean b\?",
        ),
        (["picture"], [["a.png"]], {}, "no column image .*it has picture"),
        (["image", "image:left"], [["a.png", "b.png"]], {}, "both a column image and image:left"),
        (["image", "y", "y"], [["a.png", 1, 2]], {}, "the column 'y' 2 times"),
        (["image"], [], {}, "no rows"),
        (["image", "split"], [["a.png", "trian"]], {}, "row 2, column 'split': 'trian' is no split"),
        (["image", "split"], [["a.png", "test"]], {}, "no training rows"),
        (["image", "y"], [["a.png", 1], ["", 2]], {}, "row 3, column 'image': no camera has an image"),
        (
            ["image", "split", "y"],
            [["a.png", "", "b"], ["b.png", "test", "c"]],
            {"y": "class"},
            "row 3.*in no training row",
        ),
        (
            ["image:a", "image:b", "y"],
            [["a.png", "b.png", ""], ["", "b.png", "[[1, 1]]"]],
            {"y": "points"},
            "row 3.*camera 'a' has no image",
        ),
    ],
)
def test_bad_tables(tmp_path, header, rows, wanted, message):
    with pytest.raises(ValueError, match=message):
        read(manifest(tmp_path, header, rows), **wanted)


def test_rows_are_those_of_a_spreadsheet(tmp_path):
    picture(tmp_path / "a.png")
    (tmp_path / "set.csv").write_text('image,note,y\na.png,"two\nlines",1\n\na.png,,x\n')
    with pytest.raises(ValueError, match="row 4, column 'y': 'x' is no number"):
        read(tmp_path / "set.csv", y="numbers")
    (tmp_path / "set.csv").write_text("image,y\na.png,1\na.png,1,2\n")
    with pytest.raises(ValueError, match="row 3: 3 cells, the header has 2"):
        read(tmp_path / "set.csv", y="numbers")
    (tmp_path / "set.csv").write_bytes("image,y\na.png,ü\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is not UTF-8"):
        read(tmp_path / "set.csv", y="class")


def test_images_of_several_sizes_need_a_size(tmp_path):
    picture(tmp_path / "b.png", 3, 4)
    path = manifest(tmp_path, ["image"], [["a.png"], ["b.png"]])
    with pytest.raises(ValueError, match=r"differ in size .*5x7.*3x4.*--data.image_size"):
        read(path)
    assert read(path, (2, 3)).shapes == {"image": (3, 2, 3)}


def test_names_differ():
    with pytest.raises(ValueError, match="names must differ, but 'a' is given twice"):
        ColumnRequest("class", ("a", "b", "a"))
