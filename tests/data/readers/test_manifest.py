"""Manifests written here, read back and compared with what was drawn."""

import csv
import json
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps

from hybridvit.data.readers.manifest import ColumnRequest, read_manifest, target_names
from hybridvit.data.samples import Column

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


def test_splits_images_and_classes(tmp_path):
    rows = [["a.png", "", "dog"], ["b.png", "test", "cat"], ["c.png", "Train", "cat"], ["d.png", "val", ""]]
    splits = read(
        manifest(tmp_path, ["image", "split", "animal"], [*rows, ["e.png", "validation", "dog"]]), animal="class"
    )
    assert splits.name == "set"
    assert splits.columns == {"animal": Column("class", ("cat", "dog"))}
    assert splits.train.targets["animal"].tolist() == [1, 0]
    assert splits.validation.targets["animal"].tolist() == [-1, 1]
    assert splits.test.targets["animal"].tolist() == [0]
    assert splits.train.targets["animal"].dtype == np.int64
    drawn = np.asarray(Image.open(tmp_path / "c.png")).transpose(2, 0, 1)
    assert np.array_equal(splits.train.views["image"][1], drawn)
    assert splits.shapes == {"image": (3, H, W)}
    assert splits.train.present == {}


@pytest.mark.parametrize(
    ("cells", "names", "expected_names", "expected"),
    [
        (["b", "a", "", "b"], None, ("a", "b"), [1, 0, -1, 1]),
        (["10", "9", "2.0", "+09"], None, ("2", "9", "10"), [2, 1, 0, 1]),
        (["1", "0", "2", ""], ("x", "y", "z"), ("x", "y", "z"), [1, 0, 2, -1]),
        (["7", "3", "7", "3"], ("3", "7"), ("3", "7"), [1, 0, 1, 0]),
        (["b", "a", "", "b"], ("b", "c", "a"), ("b", "c", "a"), [0, 2, -1, 0]),
    ],
)
def test_classes(tmp_path, cells, names, expected_names, expected):
    column, values = targets(tmp_path, "class", cells, names)
    assert column.names == expected_names
    assert values.tolist() == expected


def test_multilabel(tmp_path):
    column, values = targets(tmp_path, "multilabel", ["wet|night", "none", "", "fog; wet", '["night"]', "[]"])
    assert column == Column("multilabel", ("fog", "night", "wet"))
    assert values.tolist() == [[0, 1, 1], [0, 0, 0], [-1, -1, -1], [1, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_a_column_for_each_name(tmp_path):
    header = ["image", "tags:a", "tags:b", "pose:yaw", "pose:pitch"]
    path = manifest(
        tmp_path, header, [["0.png", 1, 0, 2.5, ""], ["1.png", "", "true", "", "-3e1"], ["2.png", "", "", "", ""]]
    )
    splits = read(path, tags="multilabel", pose=("numbers", ("pitch", "yaw")))
    assert target_names(path) == ("tags:a", "tags:b", "pose:yaw", "pose:pitch", "tags", "pose")
    assert splits.columns["tags"].names == ("a", "b")
    assert splits.train.targets["tags"].tolist() == [[1, 0], [-1, 1], [-1, -1]]
    np.testing.assert_array_equal(splits.train.targets["pose"], [[np.nan, 2.5], [-30, np.nan], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("cells", "names", "expected_names", "expected"),
    [
        (["1.5", "", "-2e3"], None, ("y",), [[1.5], [np.nan], [-2000]]),
        (["[1, null]", "[3, 4.5]", ""], None, ("0", "1"), [[1, np.nan], [3, 4.5], [np.nan, np.nan]]),
        (['{"v": 1, "u": 2}', '{"u": 3}', "[5, 6]"], None, ("v", "u"), [[1, 2], [np.nan, 3], [5, 6]]),
        (['{"v": 1, "u": 2}'], ("u", "v"), ("u", "v"), [[2, 1]]),
    ],
)
def test_numbers(tmp_path, cells, names, expected_names, expected):
    column, values = targets(tmp_path, "numbers", cells, names)
    assert column.names == expected_names
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected)


def test_points(tmp_path):
    cells = ['{"nose": [1, 2.5], "tail": null}', "[[7, 5], [0, 0]]", ""]
    column, values = targets(tmp_path, "points", cells)
    assert column == Column("points", ("nose", "tail"))
    np.testing.assert_array_equal(values, [[[1, 2.5], [np.nan] * 2], [[7, 5], [0, 0]], [[np.nan] * 2] * 2])


def test_boxes(tmp_path):
    (tmp_path / "b.json").write_text('[["van", 1, 1, 2, 3]]')
    cells = ['[{"class": "van", "box": [0, 1, 2, 3]}, ["car", 0, 0, 7, 5]]', "[]", "", "b.json"]
    column, values = targets(tmp_path, "boxes", cells)
    assert column == Column("boxes", ("car", "van"))
    assert values.dtype == np.float32
    pad, nan = [-1, 0, 0, 0, 0], [np.nan] * 5
    expected = [[[1, 0, 1, 2, 3], [0, 0, 0, 7, 5]], [pad, pad], [nan, nan], [[1, 1, 1, 2, 3], pad]]
    np.testing.assert_array_equal(values, expected)


def test_boxes_of_images_without_any_object(tmp_path):
    _, values = targets(tmp_path, "boxes", ["[]", ""], ("car",))
    np.testing.assert_array_equal(values, [[[-1, 0, 0, 0, 0]], [[np.nan] * 5]])


@pytest.mark.parametrize("palette", [False, True])
def test_masks(tmp_path, palette):
    drawn = RNG.integers(0, 3, (2, H, W), dtype=np.uint8)
    drawn[0, 0, 0] = 255
    for index, mask in enumerate(drawn):
        file = Image.fromarray(mask)
        if palette:
            file = Image.frombytes("P", (W, H), mask.tobytes())
            file.putpalette(RNG.integers(0, 256, 768, dtype=np.uint8).tobytes())
        file.save(tmp_path / f"m{index}.png")
    path = manifest(tmp_path, ["image", "y"], [["0.png", "m0.png"], ["1.png", ""], ["2.png", "m1.png"]])
    splits = read(path, y="mask")
    assert splits.columns["y"] == Column("mask", ("0", "1", "2"))
    assert np.array_equal(splits.train.targets["y"], np.stack([drawn[0], np.full((H, W), 255), drawn[1]]))
    assert splits.train.targets["y"].dtype == np.uint8


def test_cameras_may_be_missing(tmp_path):
    picture(tmp_path / "left.png", 3, 11)
    Image.fromarray(RNG.integers(0, 256, (3, 11), dtype=np.uint8)).save(tmp_path / "grey.png")
    rows = [["f.png", "", "", "1"], ["", "left.png", "", "2"], ["g.png", "left.png", "test", "3"]]
    splits = read(manifest(tmp_path, ["image:front", "image:left", "split", "y"], rows), y="numbers")
    assert splits.shapes == {"front": (3, H, W), "left": (3, 3, 11)}
    assert {view: there.tolist() for view, there in splits.train.present.items()} == {
        "front": [True, False],
        "left": [False, True],
    }
    assert splits.test.present["left"].tolist() == [True]
    assert not splits.train.views["front"][1].any()
    assert splits.train.views["front"][0].any()
    rows = [["grey.png", "f.png"], ["grey.png", "g.png"]]
    assert read(manifest(tmp_path, ["image:front", "image:left"], rows)).shapes["front"] == (1, 3, 11)
    assert set(read(manifest(tmp_path, ["image:front"], [["f.png"]])).shapes) == {"image"}


@pytest.mark.parametrize("orientation", [1, 6, 3])
@pytest.mark.parametrize("size", [(14, 14), (10, 30), (7, 5), (20, 28)])
def test_targets_go_where_the_pixels_go(tmp_path, orientation, size):
    """A red rectangle is drawn on the upright picture; mask, box and points must stay on it."""
    height, width = 20, 28
    x1, y1, x2, y2 = 12, 9, 17, 13
    mask = np.zeros((height, width), np.uint8)
    mask[y1:y2, x1:x2] = 9
    upright = Image.fromarray(np.stack([mask * 28] * 3, axis=-1))
    turn = {1: None, 6: Image.Transpose.ROTATE_90, 3: Image.Transpose.ROTATE_180}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (upright.transpose(turn) if turn else upright).save(tmp_path / "a.png", exif=exif)
    if orientation == 6:  # labelled as it is seen
        Image.fromarray(mask).save(tmp_path / "m.png")
    else:  # stored as the picture is
        (Image.fromarray(mask).transpose(turn) if turn else Image.fromarray(mask)).save(tmp_path / "m.png", exif=exif)
    cells = [json.dumps([[x1, y1], [x2, y2]]), json.dumps([["it", x1, y1, x2, y2]])]
    splits = read(
        manifest(tmp_path, ["image", "mask", "corners", "box"], [["a.png", "m.png", *cells]]),
        size,
        mask="mask",
        corners="points",
        box="boxes",
    )
    values = splits.train.targets
    expected = ImageOps.fit(upright, size[::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(splits.train.views["image"][0, 0], np.asarray(expected)[..., 0])
    nearest = ImageOps.fit(Image.fromarray(mask), size[::-1], Image.Resampling.NEAREST)
    assert np.array_equal(values["mask"][0], np.asarray(nearest))
    np.testing.assert_allclose(values["corners"].reshape(-1), values["box"][0, 0, 1:], atol=1e-4)
    left, top, right, bottom = values["box"][0, 0, 1:]
    # a pixel is of the rectangle where its centre lies in the box
    rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
    inside = ((rows > top) & (rows < bottom))[:, None] & ((columns > left) & (columns < right))
    assert np.array_equal(values["mask"][0], inside * 9)


def test_what_the_crop_cuts_away(tmp_path):
    """A picture of 8x20 cropped to its middle 8x8: x goes down by 6."""
    picture(tmp_path / "a.png", 8, 20)
    boxes = [["a", 0, 0, 5, 8], ["b", 2, 1, 10, 3], ["a", 5, 0, 6.5, 8], ["a", 13.5, 0, 20, 8], ["b", 7, 2, 7.25, 3]]
    cells = [json.dumps(boxes), json.dumps([[5, 4], [6, 0], [14, 8], [14.5, 1]])]
    splits = read(manifest(tmp_path, ["image", "box", "at"], [["a.png", *cells]]), 8, box="boxes", at="points")
    pad = [-1, 0, 0, 0, 0]
    np.testing.assert_allclose(splits.train.targets["box"][0], [[1, 0, 1, 4, 3], [1, 1, 2, 1.25, 3], pad, pad, pad])
    nan = [np.nan, np.nan]
    np.testing.assert_allclose(splits.train.targets["at"][0], [nan, [0, 0], [8, 8], nan])


def test_targets_in_pixels_belong_to_the_camera_they_name(tmp_path):
    picture(tmp_path / "l.png", 10, 14)
    rows = [["f.png", "l.png", "[[6, 4]]", "[[6, 4]]"]]
    path = manifest(tmp_path, ["image:front", "image:left", "at", "at:left"], rows)
    splits = read(path, (H, W), **{"at": "points", "at:left": "points"})
    np.testing.assert_allclose(splits.train.targets["at"], [[[6, 4]]])
    np.testing.assert_allclose(splits.train.targets["at:left"], [[[3, 2]]])


def test_parquet_reads_as_csv_does(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for name in ("a.png", "b.png", "c.png"):
        picture(tmp_path / name)
    columns = {
        "image": ["a.png", "b.png", "c.png"],
        "split": [None, "train", "test"],
        "label": [1.0, None, 0.0],
        "pose": [[1.5, 2.0], None, [3.0, float("nan")]],
        "box": ['[["a", 0, 0, 1, 1]]', "[]", None],
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "set.parquet")
    splits = read(tmp_path / "set.parquet", label=("class", ("no", "yes")), box="boxes")
    assert splits.train.targets["label"].tolist() == [1, -1]
    assert splits.test.targets["label"].tolist() == [0]
    assert splits.train.targets["box"][:, 0, 0].tolist() == [0, -1]
    columns["pose"][2] = [3.0, 4.0]
    parquet.write_table(pyarrow.table(columns), tmp_path / "set.parquet")
    pose = read(tmp_path / "set.parquet", pose="numbers")
    np.testing.assert_array_equal(pose.train.targets["pose"], [[1.5, 2], [np.nan, np.nan]])


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match="pip install pyarrow"):
        read(tmp_path / "set.parquet")


@pytest.mark.parametrize("text", ["\ufeffimage,y\na.png,ü\n", "image;y\r\na.png;ü\r\n", "image\ty\na.png\tü\n\n"])
def test_files_of_spreadsheets(tmp_path, text):
    picture(tmp_path / "a.png")
    (tmp_path / "set.csv").write_bytes(text.encode())
    assert read(tmp_path / "set.csv", y="class").columns["y"].names == ("ü",)
