"""Where pixels look and where points are seen."""

import json
import math

import numpy as np
import pytest

from hybridvit.data.rig import Camera, Rig

K = [[100.0, 0.0, 60.0], [0.0, 80.0, 35.0], [0.0, 0.0, 1.0]]
AHEAD = [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]  # columns: the camera's right, down, forward
LEFT = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]


def camera(rotation=AHEAD, position=(2.0, 0.0, 1.5), size=(70, 130), intrinsics=K):
    return Camera(np.array(intrinsics), np.array(rotation), np.array(position), size)


def oblique():
    """A camera turned about all axes, with skew and an odd size."""
    q, r = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return camera(q * np.linalg.det(q), (0.3, -0.7, 1.1), (53, 71), [[61.0, 1.7, 34.0], [0, 67.0, 29.0], [0, 0, 1]])


def test_hand_computed_pixels_of_a_camera_that_looks_ahead():
    # 10 m ahead of the camera; 2 m to its left: 100 * -2 / 10 = 20 px left; 1 m below: 80 * 1 / 10 = 8 px down
    pixels, depth = camera().project([[12.0, 0.0, 1.5], [12.0, 2.0, 1.5], [12.0, 0.0, 0.5]])
    np.testing.assert_allclose(pixels, [[60, 35], [40, 35], [60, 43]])
    np.testing.assert_allclose(depth, 10)


def test_hand_computed_pixels_of_a_camera_that_looks_left():
    pixels, depth = camera(LEFT, (0.0, 1.0, 0.5)).project([1.0, 6.0, 1.5])  # 5 m away, 1 m right, 1 m up
    np.testing.assert_allclose(pixels, [60 + 20, 35 - 16])
    assert depth == pytest.approx(5)


def test_what_is_behind_has_no_pixel():
    pixels, depth = camera().project([[1.0, 0.0, 1.5], [2.0, 1.0, 1.5]])
    assert np.isnan(pixels).all()
    np.testing.assert_allclose(depth, [-1, 0])


def test_hand_computed_rays():
    # a grid of 1 x 2 cells over 70 x 130 pixels: centres at v = 35, u = 32.5 and 97.5
    left, right = camera().rays((1, 2))[0]
    for ray, side in ((left, 27.5 / 100), (right, -37.5 / 100)):
        np.testing.assert_allclose(ray, np.array([1, side, 0]) / math.hypot(1, side), atol=1e-15)


@pytest.mark.parametrize("grid", [(53, 71), (5, 3), (1, 1)])
def test_what_lies_on_a_ray_is_seen_at_the_centre_of_its_cell(grid):
    eye = oblique()
    rays = eye.rays(grid)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1, atol=1e-14)
    distance = np.random.default_rng(0).uniform(1, 50, size=(*grid, 1))
    pixels, depth = eye.project(eye.position + distance * rays)
    v, u = np.meshgrid(
        *((np.arange(n) + 0.5) * side / n for n, side in zip(grid, eye.size, strict=True)), indexing="ij"
    )
    np.testing.assert_allclose(pixels, np.stack([u, v], axis=-1), atol=1e-9)
    assert (depth > 0).all()


def test_projection_is_the_matrix_product_of_the_textbook():
    eye, points = oblique(), np.random.default_rng(1).normal(size=(11, 3)) * 5
    extrinsics = np.linalg.inv(np.block([[eye.rotation, eye.position[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]))
    pixels, depth = eye.project(points)
    for point, pixel, away in zip(points, pixels, depth, strict=True):
        u, v, w = eye.intrinsics @ (extrinsics @ [*point, 1])[:3]
        assert away == pytest.approx(w)
        if w > 0:
            np.testing.assert_allclose(pixel, [u / w, v / w])
    assert 0 < (depth > 0).sum() < 11


def test_ground_cells_run_from_front_left():
    cells = Rig.bev_cells((2, 3), (-4.0, 8.0, -3.0, 6.0))
    assert cells[..., 0].tolist() == [[5, 5, 5], [-1, -1, -1]]
    assert cells[..., 1].tolist() == [[4.5, 1.5, -1.5]] * 2


def test_a_rig_comes_back_from_its_file_bit_for_bit(tmp_path):
    Rig({"front": camera(), "odd": oblique()}).write(tmp_path / "rig.json")
    again = Rig.read(tmp_path / "rig.json", views=["odd"])
    assert list(again.cameras) == ["front", "odd"]
    for name in ("intrinsics", "rotation", "position", "size"):
        np.testing.assert_array_equal(getattr(again.cameras["odd"], name), getattr(oblique(), name))


def broken(change):
    """The JSON text of a rig after a change."""
    content = json.loads(Rig({"front": camera()}).to_json())
    change(content)
    return json.dumps(content)


def put(name, value):
    return lambda content: content["cameras"]["front"].__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("cameras"), "the rig has no cameras"),
        (lambda c: c.update(cameras=[]), "cameras must be a mapping from name to camera, given a list"),
        (lambda c: c["cameras"].clear(), "at least one camera"),
        (lambda c: c["cameras"].update(front=3), "camera 'front' must be an object with intrinsics"),
        (lambda c: c["cameras"]["front"].pop("position"), "camera 'front' has no position"),
        (put("fov", 3), "camera 'front' has an unknown field 'fov'"),
        (put("position", [1, 2]), r"'front': position must be finite numbers \[3\], given shape \[2\]"),
        (put("position", ["x", 0, 0]), r"'front': position must be numbers \[3\]"),
        (put("position", [float("inf"), 0, 0]), "position must be finite"),
        (put("rotation", [[1, 0, 0], [0, 1, 0], [0, 0.1, 1]]), "'front': rotation is not orthonormal.* 1.0e-01 off"),
        (put("rotation", [[1, 0, 0], [0, 1, 0], [0, 0, -1]]), "'front': rotation is a reflection"),
        (put("intrinsics", [[-9, 0, 1], [0, 9, 1], [0, 0, 1]]), "positive focal lengths, given -9 and 9"),
        (put("intrinsics", [[9, 0, 0], [0, 9, 0], [1, 1, 1]]), r"intrinsics must be \[\[fx, skew, cx\]"),
        (put("size", [7, 0]), r"'front': size must be height and width in whole pixels, given \[7, 0\]"),
        (put("size", [7, 9.5]), "size must be height and width"),
        (put("size", 7), r"'front': size must be \[height, width\], given 7"),
    ],
)
def test_a_faulty_file_is_refused_in_one_line(tmp_path, change, message):
    path = tmp_path / "rig.json"
    path.write_text(broken(change))
    with pytest.raises(ValueError, match=message) as error:
        Rig.read(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_files_that_are_no_rig_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"gone.json: No such file"):
        Rig.read(tmp_path / "gone.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="no valid JSON"):
        Rig.read(tmp_path / "a.json")
    Rig({"front": camera()}).write(tmp_path / "b.json")
    with pytest.raises(ValueError, match="there is no camera 'rear'; there are front"):
        Rig.read(tmp_path / "b.json", views=["front", "rear"])


def test_images_that_the_rig_did_not_take_are_refused():
    rig = Rig({"front": camera(), "rear": camera()})
    rig.check({"front": (3, 70, 130)})
    with pytest.raises(ValueError, match="the rig has no camera 'left'; it has front, rear"):
        rig.check({"left": (3, 70, 130)})
    with pytest.raises(ValueError, match="camera 'front' takes 70x130 pixels, its images have 130x70"):
        rig.check({"front": (1, 130, 70)})
