"""What ``predict`` takes: the same picture by its path, as a PIL image and as an array gives the same row."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hybridvit.runs.loaded_run import load_run
from hybridvit.runs.prediction_inputs import pixels_of, samples_of
from hybridvit.runs.run import Run

SHAPE = (3, 12, 10)


@pytest.fixture(scope="module")
def colours():
    return np.random.default_rng(0).integers(0, 256, (5, 24, 31, 3), np.uint8)


@pytest.fixture
def folder(colours, tmp_path):
    for name, picture in zip("ecadb", colours, strict=True):
        Image.fromarray(picture).save(tmp_path / f"{name}.PNG")
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def read(given, shape=SHAPE):
    samples = samples_of(given, {"image": shape})
    return [sample.name for sample in samples], np.stack(
        [pixels_of(sample.views["image"], shape) for sample in samples]
    )


@pytest.mark.parametrize("shape", [SHAPE, (1, 12, 10), (3, 24, 31)])
def test_a_picture_is_the_same_by_path_pil_and_array(colours, folder, shape):
    paths = [folder / f"{name}.PNG" for name in "ecadb"]
    _, expected = read(paths, shape)
    assert expected.shape == (5, *shape)
    forms = {
        "text": [str(path) for path in paths],
        "pil": [Image.open(path) for path in paths],
        "nhwc": colours,
        "nchw": colours.transpose(0, 3, 1, 2),
        "list of hwc": list(colours),
        "tuple of chw": tuple(colours.transpose(0, 3, 1, 2)),
        "tensor": torch.from_numpy(colours),
        "floats": (colours / 255).astype(np.float32),
        "mixed": [paths[0], Image.open(paths[1]), colours[2], colours[3:]],
    }
    for form, given in forms.items():
        names, pixels = read(given, shape)
        assert np.array_equal(pixels, expected), form
        if form == "text":
            assert names == [str(path) for path in paths]
        elif form == "mixed":
            assert names == [str(paths[0]), 1, 2, 3, 4]
        else:
            assert names == [0, 1, 2, 3, 4], form


def test_one_picture_alone_needs_no_list(colours, folder):
    path = folder / "a.PNG"
    _, expected = read([path])
    for given in (path, str(path), Image.open(path), colours[2], colours[2].transpose(2, 0, 1)):
        names, pixels = read(given)
        assert names == ([str(path)] if isinstance(given, str | Path) else [0])
        assert np.array_equal(pixels, expected)
    grey = colours[2, :, :, 0]
    _, pixels = read(grey, (1, 24, 31))
    assert np.array_equal(pixels[0, 0], grey)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_an_array_that_may_be_one_image_or_several_grey_ones_is_refused(count):
    grey = np.zeros((count, 8, 9), np.uint8)
    with pytest.raises(
        ValueError, match=rf"{count} grey images or one image .* give grey images as \[{count}, 1, 8, 9\]"
    ):
        samples_of(grey, {"image": (1, 8, 9)})
    assert len(samples_of(grey[:, None], {"image": (1, 8, 9)})) == count
    if count > 2:
        assert len(samples_of(np.moveaxis(grey, 0, -1), {"image": (1, 8, 9)})) == 1


def test_a_folder_is_its_images_in_the_order_of_their_names(folder):
    names, pixels = read(folder)
    assert names == [str(folder / f"{name}.PNG") for name in "abcde"]
    assert np.array_equal(pixels, read([folder / f"{name}.PNG" for name in "abcde"])[1])
    assert read(str(folder))[0] == names


def test_a_picture_is_turned_as_its_exif_says(colours, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(colours[0]).save(tmp_path / "turned.png", exif=exif)
    by_path, by_pil = read(tmp_path / "turned.png")[1], read(Image.open(tmp_path / "turned.png"))[1]
    assert np.array_equal(by_path, by_pil)
    assert not np.array_equal(by_path, read(colours[0])[1])


def test_several_cameras_take_mappings_of_any_of_these(colours, folder):
    views = {"front": SHAPE, "left": SHAPE}
    one = samples_of({"left": folder / "a.PNG"}, views)
    assert [(sample.name, set(sample.views)) for sample in one] == [({"left": str(folder / "a.PNG")}, {"left"})]
    many = samples_of({"front": colours[:2], "left": [folder / "a.PNG", Image.fromarray(colours[3])]}, views)
    assert [sample.name for sample in many] == [{"front": 0, "left": str(folder / "a.PNG")}, {"front": 1, "left": 1}]
    listed = samples_of([{"front": colours[0]}, {"left": colours[1]}], views)
    assert [sample.name for sample in listed] == [{"front": 0}, {"left": 1}]
    assert np.array_equal(listed[1].views["left"], colours[1].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("views", "given", "message"),
    [
        (["image"], np.zeros((7, 9, 8), np.uint8), "images of 1 to 4 channels are expected"),
        (["image"], np.zeros((9, 8, 3), np.int64), "images must be uint8, or floats in .0, 1., given int64"),
        (["image"], "nowhere.png", r"nowhere\.png cannot be read as an image"),
        (["image"], [{"front": "a.png"}], "this run has one camera, given pictures of front"),
        (["image"], {"front": "a.png"}, "this run has no camera 'front'"),
        (["front", "left"], "a.png", r"this run has 2 cameras: name the one of a\.png, as in front=a\.png"),
        (["front", "left"], {"fornt": "a.png"}, "this run has no camera 'fornt': did you mean front"),
        (
            ["front", "left"],
            {"front": ["a.png"], "left": ["b.png", "c.png"]},
            "every camera must have as many pictures",
        ),
    ],
)
def test_what_is_no_picture_is_refused(views, given, message):
    with pytest.raises(ValueError, match=message):
        [
            pixels_of(sample.views[view], SHAPE)
            for sample in samples_of(given, dict.fromkeys(views, SHAPE))
            for view in sample.views
        ]


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no images \(looked for \.png"):
        read(tmp_path)


def test_channels_that_a_run_cannot_read_are_refused(colours):
    assert np.array_equal(read(colours[0][..., :2], (2, 24, 31))[1][0], colours[0][..., :2].transpose(2, 0, 1))
    with pytest.raises(ValueError, match="this run reads images of 2 channels of 24x31 pixels, given 3 channels of"):
        read(colours[0], (2, 24, 31))


def test_a_run_answers_the_same_to_every_form(tiny_recipe, tmp_path):
    run = Run(tiny_recipe(steps=1), str(tmp_path / "run"), cpu=True)
    run.fit()
    images = run.splits.test.views["image"][:3]
    for index, picture in enumerate(images):
        Image.fromarray(picture[0]).save(tmp_path / f"{index}.png")
    loaded = load_run(tmp_path / "run")
    paths = [tmp_path / f"{index}.png" for index in range(3)]
    expected = [row["label"] for row in loaded.predict(paths)]
    for given in (images, images[:, 0, :, :, None], [Image.open(path) for path in paths], list(images)):
        rows = loaded.predict(given)
        assert [row["image"] for row in rows] == [0, 1, 2]
        assert [row["label"] for row in rows] == expected
    assert loaded.predict(str(paths[1]))[0]["label"] == pytest.approx(expected[1])
    assert loaded.predict([]) == []
