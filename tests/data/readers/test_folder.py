"""Pictures as people have them, made here with PIL."""

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hybridvit.data.readers.folder import read_folder
from hybridvit.data.readers.image_io import read_image

RNG = np.random.default_rng(0)


def rgb(height=4, width=6):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey(height=4, width=6):
    return RNG.integers(0, 256, (height, width), dtype=np.uint8)


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return array


def read(root, image_size=None, skip_unreadable=False):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning that no test asks for is a failure
        return read_folder(root, image_size, skip_unreadable)


def test_a_folder_for_each_class(tmp_path):
    names = ("bee/c.PNG", "bee/deep/er/d.bmp", "cat/a.png", "cat/b.png")
    arrays = {name: write(tmp_path / name, rgb()) for name in reversed(names)}
    (tmp_path / "cat/notes.txt").write_text("not a picture")
    (tmp_path / "README.md").write_text("not a class")
    write(tmp_path / ".thumbnails/a.png", rgb())
    splits = read(tmp_path)
    assert splits.name == tmp_path.name
    assert splits.columns["label"].names == ("bee", "cat")
    assert splits.shapes["image"] == (3, 4, 6)
    assert splits.train.targets["label"].tolist() == [0, 0, 1, 1]
    assert splits.train.views["image"].dtype == np.uint8
    assert np.array_equal(splits.train.views["image"], [arrays[name].transpose(2, 0, 1) for name in names])
    assert len(splits.validation) == len(splits.test) == 0
    assert splits.test.views["image"].shape == (0, 3, 4, 6)


def test_train_val_and_test_folders(tmp_path):
    arrays = {
        name: write(tmp_path / f"{name}.png", rgb())
        for name in ("train/bee/1", "train/cat/1", "train/cat/2", "val/cat/1", "test/bee/1", "test/cat/1")
    }
    splits = read(tmp_path)
    assert splits.columns["label"].names == ("bee", "cat")
    labels = [part.targets["label"].tolist() for part in (splits.train, splits.validation, splits.test)]
    assert labels == [[0, 1, 1], [1], [0, 1]]
    assert np.array_equal(splits.validation.views["image"][0], arrays["val/cat/1"].transpose(2, 0, 1))
    assert np.array_equal(splits.test.views["image"][1], arrays["test/cat/1"].transpose(2, 0, 1))


def test_missing_val_and_test_folders_are_empty_parts(tmp_path):
    for name in ("train/bee", "train/cat", "test/cat"):
        write(tmp_path / name / "1.png", rgb())
    splits = read(tmp_path)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (2, 0, 1)
    assert splits.test.targets["label"].tolist() == [1]


def test_a_class_that_only_the_test_folder_has_is_refused(tmp_path):
    for name in ("train/bee", "test/bee", "test/wasp"):
        write(tmp_path / name / "1.png", rgb())
    with pytest.raises(ValueError, match=r"test has classes that .*train lacks: wasp"):
        read(tmp_path)


def test_grey_pictures_stay_grey_unless_some_have_colour(tmp_path):
    dark, light = write(tmp_path / "bee/1.png", grey()), write(tmp_path / "cat/1.png", grey())
    splits = read(tmp_path)
    assert splits.shapes["image"] == (1, 4, 6)
    assert np.array_equal(splits.train.views["image"][:, 0], [dark, light])
    colour = write(tmp_path / "cat/2.png", rgb())
    splits = read(tmp_path)
    assert splits.shapes["image"] == (3, 4, 6)
    assert np.array_equal(splits.train.views["image"][0], [dark] * 3)
    assert np.array_equal(splits.train.views["image"][2], colour.transpose(2, 0, 1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_orientation_says(tmp_path, orientation):
    turns = {  # what the viewer must do, from the EXIF standard (row 0 and column 0 as stored)
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = write(tmp_path / "bee/1.png", rgb(3, 5), exif=exif)
    assert np.array_equal(read(tmp_path).train.views["image"][0].transpose(1, 2, 0), turns[orientation](stored))


DEEP = np.array([[0, 257, 1000], [32768, 65000, 65535]])
SCALED = np.array([[0, 1, 4], [128, 253, 255]])  # times 255 / 65535, rounded: 3.9, 127.50, 252.9


@pytest.mark.parametrize(("suffix", "dtype"), [("png", "<u2"), ("tif", "<u2"), ("tif", ">u2"), ("pgm", "<u2")])
def test_16_bit_pictures_are_scaled_not_clipped(tmp_path, suffix, dtype):
    write(tmp_path / f"bee/1.{suffix}", DEEP.astype(dtype))
    splits = read(tmp_path)
    assert splits.shapes["image"] == (1, 2, 3)
    assert splits.train.views["image"][0, 0].tolist() == SCALED.tolist()


def test_a_dark_16_bit_picture_stays_darker_than_a_bright_one(tmp_path):
    write(tmp_path / "bee/dark.png", np.full((2, 3), 200, np.uint16))
    write(tmp_path / "bee/middle.png", np.full((2, 3), 2570, np.uint16))
    assert read(tmp_path).train.views["image"][:, 0, 0, 0].tolist() == [1, 10]


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK", "LA", "1"])
def test_every_kind_of_picture_becomes_grey_or_rgb(tmp_path, mode):
    picture = Image.fromarray(np.full((3, 5, 3), 255, np.uint8)).convert(mode)
    path = tmp_path / "bee" / ("1.tif" if mode == "CMYK" else "1.png")
    path.parent.mkdir()
    picture.save(path)
    splits = read(tmp_path)
    assert splits.shapes["image"] == (1 if mode in ("LA", "1") else 3, 3, 5)
    assert (splits.train.views["image"] == 255).all()


def damaged(kind):
    """The bytes of a picture that is none, and the suffix it goes by."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(buffer, "PNG")
    png = bytearray(buffer.getvalue())
    if kind == "cut short":
        return png[: len(png) // 2], ".png"
    if kind == "broken chunk":
        png[33:37] = (5).to_bytes(4, "big")  # the length of the first chunk of pixels
        return png, ".png"
    if kind == "broken header":
        return b"P6\n30 x20\n255\n" + bytes(1800), ".ppm"
    return {"text": b"hello", "empty": b""}[kind], ".jpg"


KINDS = ["text", "empty", "cut short", "broken chunk", "broken header"]


@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_files_are_named(tmp_path, kind):
    write(tmp_path / "bee/good.png", rgb(20, 30))
    content, suffix = damaged(kind)
    bad = tmp_path / f"bee/bad{suffix}"
    bad.write_bytes(content)
    with pytest.raises(ValueError, match=r"1 files? cannot be read.*skip_unreadable") as caught:
        read(tmp_path)
    assert str(bad) in str(caught.value)
    with pytest.raises(ValueError, match="cannot be read as an image") as caught:
        read_image(bad, 3, (4, 4))
    assert str(bad) in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_unreadable_files_are_skipped_with_a_warning_only_if_asked(tmp_path, kind):
    good = write(tmp_path / "bee/good.png", rgb(20, 30))
    content, suffix = damaged(kind)
    (tmp_path / f"bee/bad{suffix}").write_bytes(content)
    with pytest.warns(UserWarning, match=rf"skipped unreadable files: 1 file cannot be read: .*bad\{suffix}"):
        splits = read_folder(tmp_path, None, skip_unreadable=True)
    assert np.array_equal(splits.train.views["image"], good.transpose(2, 0, 1)[None])


def test_many_unreadable_files_are_counted_and_the_first_named(tmp_path):
    write(tmp_path / "bee/good.png", rgb())
    for number in range(7):
        (tmp_path / f"bee/{number}.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"7 files cannot be read: .*0\.jpg.*4\.jpg.*; and 2 more") as caught:
        read(tmp_path)
    assert "5.jpg" not in str(caught.value)


def test_a_class_left_without_readable_images_is_named(tmp_path):
    write(tmp_path / "bee/good.png", rgb())
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat/bad.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(ValueError, match="'cat' has no image"):
        read_folder(tmp_path, None, skip_unreadable=True)
    (tmp_path / "bee/good.png").unlink()
    (tmp_path / "bee/bad.png").write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(ValueError, match="not one image can be read"):
        read_folder(tmp_path, None, skip_unreadable=True)


@pytest.mark.parametrize("suffix", [".png", ".ppm", ".bmp"])
def test_a_byte_wrong_anywhere_is_read_or_refused_in_words(tmp_path, suffix):
    path = tmp_path / f"1{suffix}"
    Image.fromarray(rgb(2, 3)).save(path)
    content = path.read_bytes()
    for position in range(len(content)):
        broken = bytearray(content)
        broken[position] ^= 0xFF
        path.write_bytes(broken)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                assert read_image(path, 3, (2, 3)).shape == (3, 2, 3)
        except Exception as error:
            if not (isinstance(error, ValueError) and f"{path} cannot be read as an image" in str(error)):
                pytest.fail(f"byte {position}: {error!r}")


def test_a_class_without_images_is_named(tmp_path):
    write(tmp_path / "bee/1.png", rgb())
    (tmp_path / "cat").mkdir()
    with pytest.raises(ValueError, match=r"class 'cat' has no images \(looked for .png .jpg"):
        read(tmp_path)


def test_a_folder_without_class_folders_is_refused(tmp_path):
    write(tmp_path / "1.png", rgb())
    with pytest.raises(ValueError, match=r"holds no class folders: expected .*CLASS/image.png"):
        read(tmp_path)


def test_pictures_of_several_sizes_need_an_image_size(tmp_path):
    write(tmp_path / "bee/1.png", rgb(4, 6))
    write(tmp_path / "bee/2.png", rgb(6, 4))
    with pytest.raises(ValueError, match=r"1.png is 4x6, .*2.png is 6x4 pixels.*--data.image_size"):
        read(tmp_path)
    assert read(tmp_path, 5).shapes["image"] == (3, 5, 5)
    assert read(tmp_path, (3, 7)).shapes["image"] == (3, 3, 7)


def test_the_middle_is_cropped_then_resized(tmp_path):
    picture = np.zeros((4, 14), np.uint8)
    picture[:, 3:11] = np.repeat([[40, 80]], 4, axis=0).repeat(4, axis=1)  # the middle 4x8
    write(tmp_path / "bee/1.png", picture)
    assert read(tmp_path, (4, 8)).train.views["image"][0, 0].tolist() == picture[:, 3:11].tolist()
    wide = np.full((40, 140), 255, np.uint8)
    wide[:, 10:70], wide[:, 70:130] = 40, 80  # the middle 40x80, and what a bicubic filter sees beside it
    write(tmp_path / "bee/1.png", wide)
    small = read(tmp_path, (4, 8)).train.views["image"][0, 0]
    assert small[:, [0, 1, 6, 7]].tolist() == [[40, 40, 80, 80]] * 4


def test_one_picture_is_read_as_the_model_needs_it(tmp_path):
    colour = write(tmp_path / "1.png", rgb())
    flat = write(tmp_path / "2.png", grey())
    assert np.array_equal(read_image(tmp_path / "1.png", 3, (4, 6)), colour.transpose(2, 0, 1))
    assert np.array_equal(read_image(tmp_path / "2.png", 3, (4, 6)), [flat] * 3)
    assert np.array_equal(read_image(tmp_path / "2.png", 1, (4, 6)), flat[None])
    luma = colour @ [0.299, 0.587, 0.114]
    assert np.abs(read_image(tmp_path / "1.png", 1, (4, 6))[0] - luma).max() < 1
    assert read_image(tmp_path / "1.png", 3, (5, 7)).shape == (3, 5, 7)
    with pytest.raises(ValueError, match=r"no.png cannot be read as an image: No such file"):
        read_image(tmp_path / "no.png", 3, (4, 6))


def test_flowers_as_they_come():
    root = Path(os.environ.get("HYBRIDVIT_DATA", "")) / "flowers5"
    if "HYBRIDVIT_DATA" not in os.environ or not root.is_dir():
        pytest.skip("needs flowers5/CLASS/*.jpg in the folder that HYBRIDVIT_DATA names")
    splits = read(root, 32)
    listed = {folder.name: len(list(folder.glob("*.jpg"))) for folder in sorted(root.iterdir()) if folder.is_dir()}
    assert splits.columns["label"].names == tuple(listed)
    assert np.bincount(splits.train.targets["label"]).tolist() == list(listed.values()) == [60] * 5
    assert splits.shapes["image"] == (3, 32, 32)
    assert splits.train.views["image"].std(axis=(1, 2, 3)).min() > 5  # no picture is blank
