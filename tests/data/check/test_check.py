"""Every fault that the check knows is put into a manifest and must be found, and nothing else."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from hybridvit.data.check.check import check_manifest, format_report
from hybridvit.data.check.duplicates import near_duplicates
from hybridvit.data.readers.infer_kind import infer_kind

H, W = 24, 32


def scene(seed, height=H, width=W):
    """A picture with structure, different for every seed."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def write(folder, header, rows):
    for row in rows:
        for column, cell in zip(header, row, strict=True):
            if column.startswith("image") and cell and not (folder / cell).exists():
                scene(int("".join(filter(str.isdigit, cell)))).save(folder / cell)
    with open(folder / "set.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / "set.csv"


def problems(path):
    """(level, column, rows, text) of each."""
    report = check_manifest(path)
    assert json.loads(json.dumps(report.to_dict()))["errors"] == report.errors
    page = format_report(report)
    assert all(problem.text in page for problem in report.problems)
    return [(problem.level, problem.where, problem.rows, problem.text) for problem in report.problems]


def only(path):
    """The one problem that there is."""
    (problem,) = problems(path)
    return problem


def split_of(index, count):
    return "train" if index < count - 4 else "val" if index < count - 2 else "test"


def test_a_good_manifest(tmp_path):
    rows = [
        [
            f"{i}.png",
            "" if i == 1 else f"{i + 50}.png",
            split_of(i, 12),
            "ab"[i % 2],
            f"{i / 2}",
            "" if i == 2 else "[[1, 2]]",
        ]
        for i in range(12)
    ]
    report = check_manifest(write(tmp_path, ["image:front", "image:left", "split", "kind", "size", "at"], rows))
    assert not report.problems
    assert dict(report.rows) == {"train": 8, "validation": 2, "test": 2}
    assert report.views["left"].images == 11
    assert report.views["left"].missing == pytest.approx(1 / 12)
    assert report.views["front"].sizes == {"32x24": 12}
    kinds = {name: column.kind for name, column in report.columns.items()}
    assert kinds == {"kind": "class", "size": "numbers", "at": "points"}
    assert report.columns["kind"].classes == {
        "a": {"train": 4, "validation": 1, "test": 1},
        "b": {"train": 4, "validation": 1, "test": 1},
    }
    assert report.columns["size"].numbers["size"] == pytest.approx(
        {"min": 0, "max": 5.5, "mean": 2.75, "std": np.std(np.arange(12) / 2)}
    )
    assert report.columns["at"].labelled == {"train": 7, "validation": 2, "test": 2}
    lines = format_report(report).splitlines()
    assert lines[0].endswith("12 rows, nothing wrong")
    assert "train          8" in lines


def test_leaks(tmp_path):
    rows = [[f"{i}.png", split_of(i, 12), "ab"[i % 2]] for i in range(12)]
    path = write(tmp_path, ["image", "split", "kind"], rows)
    scene(0).save(tmp_path / "10.bmp")
    rows[10][0] = "10.bmp"
    path = write(tmp_path, ["image", "split", "kind"], rows)
    assert only(path) == ("error", "image", (2, 12), "1 image is in train and test, pixel for pixel")
    scene(0).resize((48, 36), Image.Resampling.BICUBIC).resize((W, H)).save(tmp_path / "10.bmp")
    assert only(path) == ("warning", "image", (2, 12), "1 pair in different splits look the same")
    assert "[rows 2 = 12]" in format_report(check_manifest(path))


def test_the_same_training_image_twice(tmp_path):
    rows = [[f"{i}.png", "ab"[i % 2]] for i in range(6)]
    rows[4][0] = "0.png"
    path = write(tmp_path, ["image", "kind"], rows)
    assert only(path) == ("warning", "image", (2, 6), "1 training image more than once")
    rows[4][1] = "b"
    found = problems(write(tmp_path, ["image", "kind"], rows))
    assert ("warning", "kind", (2, 6), "the same image with different labels") in found
    rows[4][1] = ""  # a missing label contradicts nothing
    assert len(problems(write(tmp_path, ["image", "kind"], rows))) == 1


def test_files(tmp_path):
    rows = [[f"{i}.png"] for i in range(6)]
    path = write(tmp_path, ["image"], rows)
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:200])
    (tmp_path / "4.png").unlink()
    scene(5, 30, 40).save(tmp_path / "5.png")
    found = problems(path)
    assert [problem[:3] for problem in found] == [
        ("error", "image", (4,)),
        ("error", "image", (6,)),
        ("warning", "image", (7,)),
    ]
    assert found[1][3] == "4.png: No such file or directory"
    assert found[2][3] == "images of 2 sizes, most of them 32x24: reading needs --data.image_size"


def test_classes_of_the_splits(tmp_path):
    rows = [[f"{i}.png", split_of(i, 12), "abc"[i % 3]] for i in range(12)]
    rows[11][2] = "d"
    found = problems(write(tmp_path, ["image", "split", "kind"], rows))
    assert found[0][:3] == ("error", "kind", (13,))
    assert "class 'd' is in no training row" in found[0][3]
    assert {text for *_, text in found[1:]} == {
        "classes without a validation sample: b",
        "classes without a test sample: a, c",
    }


@pytest.mark.parametrize(
    ("cells", "level", "rows", "text"),
    [
        (["1.5", "nan", "2.25", "3.5"], "error", (3,), "'nan' is no finite number"),
        (["1.5", "n/a", "2.25", "3.5"], "error", (3,), "'n/a' is no number"),
        (["cat", "unknown", "cat", "cat"], "warning", (3,), "'unknown' is read as a class"),
        (["cat", "Cat", "dog", "cat"], "warning", (), "spelled differently: 'Cat' and 'cat'"),
        (["[[1, 2]]", "[[1, 25]]", "[[1, 2]]", ""], "error", (3,), "points outside the image"),
        (['[["a", 1, 1, 2, 2]]', "[]", '[["a", 1, 1, 40, 2]]', ""], "error", (4,), "boxes outside the image"),
        (['[["a", 1, 1, 2, 2]]', "[]", '[["a", 5, 1, 4, 2]]', ""], "error", (4,), "has no area"),
        (["", "", "", ""], "warning", (), "not one label"),
    ],
)
def test_labels(tmp_path, cells, level, rows, text):
    found = only(write(tmp_path, ["image", "y"], [[f"{i}.png", cell] for i, cell in enumerate(cells)]))
    assert found[:3] == (level, "y", rows)
    assert text in found[3]


def test_masks(tmp_path):
    rng = np.random.default_rng(0)
    for index in range(4):
        Image.fromarray(rng.integers(0, 3, (H, W), dtype=np.uint8)).save(tmp_path / f"m{index}.png")
    path = write(tmp_path, ["image", "seg"], [[f"{i}.png", f"m{i}.png"] for i in range(4)])
    report = check_manifest(path)
    assert not report.problems
    pixels = sum(counts["train"] for counts in report.columns["seg"].classes.values())
    assert pixels == 4 * H * W
    Image.fromarray(np.zeros((W, H), np.uint8)).save(tmp_path / "m1.png")
    Image.fromarray(np.zeros((H, W, 3), np.uint8)).save(tmp_path / "m2.png")
    found = problems(path)
    assert [problem[2] for problem in found] == [(3,), (4,)]
    assert "the mask is 24x32, its image 32x24" in found[0][3]
    assert "mode RGB" in found[1][3]


def test_it_goes_on_where_reading_stops(tmp_path):
    (tmp_path / "set.csv").write_text('image,split,y\n0.png,trian,1\n,test,x\n1.png,test\n0.png,val,"[1"\n')
    scene(0).save(tmp_path / "0.png")
    scene(1).save(tmp_path / "1.png")
    texts = " / ".join(text for *_, text in problems(tmp_path / "set.csv"))
    for text in ("'trian' is no split", "no camera has an image", "2 cells, the header has 3", "pixel for pixel"):
        assert text in texts
    (tmp_path / "set.csv").write_text("picture,y\n0.png,1\n")
    assert "no column image" in problems(tmp_path / "set.csv")[0][3]
    (tmp_path / "set.csv").write_text("image,y,y\n0.png,1,1\n")
    assert "the column 'y' 2 times" in only(tmp_path / "set.csv")[3]
    assert "cannot be read as CSV: No such file" in only(tmp_path / "none.csv")[3]


def test_columns_of_one_target(tmp_path):
    header = ["image", "pose:x", "pose:y", "tags:a", "tags:b", "id"]
    rows = [[f"{i}.png", i / 3, i / 7, i % 2, 0, f"id-{i}"] for i in range(30)]
    columns = check_manifest(write(tmp_path, header, rows)).columns
    assert {name: column.kind for name, column in columns.items()} == {
        "pose": "numbers",
        "tags": "multilabel",
        "id": "text",
    }
    assert columns["pose"].numbers["y"]["max"] == pytest.approx(29 / 7)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["cat", "dog", "cat", ""], "class"),
        (["0", "1", "1", "0"], "class"),
        ([str(i % 7) for i in range(100)], "class"),
        ([str(i) for i in range(100)], "numbers"),
        (["0.5", "1", "nan"], "numbers"),
        (["a|b", "a", "none"], "multilabel"),
        (['["a"]', "[]"], "multilabel"),
        (["m/1.png", "m/2.PNG"], "mask"),
        (["[]", '[["a", 1, 2, 3, 4]]'], "boxes"),
        (["boxes/1.json", "boxes/2.json"], "boxes"),
        (['{"nose": [1, 2]}', "[null, [1, 2]]"], "points"),
        (["[1, 2]", '{"a": 1}'], "numbers"),
        ([f"a sentence of its own, number {i}" for i in range(40)], "text"),
        (["", ""], "empty"),
    ],
)
def test_kinds_are_inferred(cells, kind):
    assert infer_kind(cells) == kind


def test_near_duplicates_against_all_pairs():
    rng = np.random.default_rng(0)
    small = np.stack([np.asarray(scene(seed, 16, 16).convert("L")) for seed in range(40)])
    noisy = np.clip(small[:12] + rng.normal(0, np.linspace(0.5, 6, 12)[:, None, None], (12, 16, 16)), 0, 255)
    flat = np.full((3, 16, 16), 200)  # of one colour, so not told apart and not reported
    copies = np.concatenate([small, noisy, flat]).astype(np.uint8)
    parts = np.concatenate([np.zeros(40, int), np.arange(12) % 2 + 1, [0, 1, 2]])
    found = {tuple(pair) for pair in np.sort(near_duplicates(copies, parts), axis=1).tolist()}
    values = copies.astype(float)
    expected = {
        (i, j)
        for i in range(52)
        for j in range(i + 1, 52)
        if parts[i] != parts[j]
        and np.sqrt(((values[i] - values[j]) ** 2).mean()) <= min(3, 0.1 * min(values[i].std(), values[j].std()))
    }
    assert found == expected
    assert 3 < len(expected) < 12


def test_black_pictures_of_different_shape_are_not_the_same(tmp_path):
    for index, size in enumerate([(32, 24), (24, 32), (32, 24)]):
        Image.new("RGB", size).save(tmp_path / f"{index}.png")
    path = write(tmp_path, ["image"], [["0.png"], ["1.png"]])
    assert [text for *_, text in problems(path)] == ["images of 2 sizes: reading needs --data.image_size"]
    assert only(write(tmp_path, ["image"], [["0.png"], ["2.png"]]))[3] == "1 training image more than once"
