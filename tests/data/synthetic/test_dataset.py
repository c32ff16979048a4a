"""Made-up scenes: every answer against an independent look at the geometry."""

import math
import zlib
from dataclasses import replace

import numpy as np
import pytest

from hybridvit.data.rig import Rig
from hybridvit.data.samples import Samples
from hybridvit.data.synthetic.dataset import (
    CAMERA_NAMES,
    SyntheticConfig,
    count,
    draw_cameras,
    nearest_kind,
    ring_of_cameras,
    visible,
)
from hybridvit.data.synthetic.ray_caster import NOTHING, RayCaster
from hybridvit.data.synthetic.scene import KINDS, Scene, Solid, draw_scene, occupancy

EXTENT = (-7.0, 9.0, -6.0, 8.0)
DIGEST = 1448423695  # of SyntheticConfig(samples=6, seed=3).build().train
TALL = {"box": 1.5, "cylinder": 2.0, "sphere": 1.6}


def solid(kind, x, y, half=(0.8, 0.8), turn=0.0):
    return Solid(kind, x, y, half, TALL[kind], (math.cos(turn), math.sin(turn)), (200.0, 90.0, 40.0))


def scene(*solids, yaw=0.0):
    return Scene((math.cos(yaw), math.sin(yaw)), (3.0, 5.0), solids)


def scenes(number):
    return [draw_scene(np.random.default_rng([11, index]), EXTENT) for index in range(number)]


def inside(thing, points):
    """Which points [n, 3] lie within a solid, by its definition."""
    x, y, z = points[..., 0] - thing.x, points[..., 1] - thing.y, points[..., 2]
    if thing.kind == "sphere":
        return x**2 + y**2 + (z - thing.height / 2) ** 2 <= thing.half[0] ** 2
    standing = (z >= 0) & (z <= thing.height)
    if thing.kind == "cylinder":
        return standing & (x**2 + y**2 <= thing.half[0] ** 2)
    turn = math.atan2(thing.turn[1], thing.turn[0])
    back = (x + 1j * y) * np.exp(-1j * turn)
    return standing & (abs(back.real) <= thing.half[0]) & (abs(back.imag) <= thing.half[1])


# Occupancy


def test_a_cell_is_occupied_exactly_where_sampled_points_of_it_are_covered():
    """Points can miss a corner that is thinner than their distance, but no more."""
    cells, halves = Rig.bev_cells((8, 7), EXTENT), (1.0, 1.0)
    offsets = np.stack(np.meshgrid(*[np.linspace(-1, 1, 31)] * 2, indexing="ij"), axis=-1)
    points = cells[:, :, None, None] + offsets
    occupied = 0
    for it in scenes(15):
        for thing in it.solids:
            found = occupancy(Scene(it.heading, it.origin, (thing,)), cells, halves)
            at = np.concatenate([points, np.full((*points.shape[:-1], 1), thing.height / 2)], axis=-1)
            covered = inside(thing, at).any(axis=(2, 3))
            grown = replace(thing, half=tuple(half + 0.07 for half in thing.half))
            nearly = inside(grown, at).any(axis=(2, 3))
            assert (found[covered] == 1 + KINDS.index(thing.kind)).all()
            assert not found[~nearly].any()
            occupied += int(covered.sum())
    assert occupied > 100


def test_hand_computed_occupancy():
    cells = Rig.bev_cells((4, 4), (-4.0, 4.0, -4.0, 4.0))  # cells of 2 m; row 0 is x 2..4, column 0 is y 2..4
    found = occupancy(scene(solid("box", 3.0, 1.5, (0.4, 0.9)), solid("sphere", -2.9, -2.9)), cells, (1.0, 1.0))
    assert found.tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 3]]
    turned = occupancy(scene(solid("box", 0.0, 0.0, (2.5, 0.1), math.pi / 4)), cells, (1.0, 1.0))
    assert turned.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    # ±2.5/√2 = 1.77 m along both axes: the ends stay within the four cells in the middle


def test_a_cell_of_two_solids_goes_to_the_one_whose_centre_is_nearer():
    cells = Rig.bev_cells((1, 1), (-2.0, 2.0, -2.0, 2.0))
    near, far = solid("box", 0.5, 0.0), solid("cylinder", -1.5, 0.0)
    assert occupancy(scene(near, far), cells, (2.0, 2.0)).item() == 1
    assert occupancy(scene(far, near), cells, (2.0, 2.0)).item() == 1


# Pictures


@pytest.mark.parametrize("kind", KINDS)
def test_a_solid_straight_ahead_is_at_its_projected_pixel_of_the_front_camera(kind):
    rig = ring_of_cameras(6, (33, 49))
    eye, ahead = rig.cameras["front"], solid(kind, 6.0, 0.0)
    pictures = RayCaster(rig).pictures(scene(ahead))
    (u, v), _ = eye.project([6.0, 0.0, ahead.height / 2])
    assert int(u) == 24  # the middle column
    picture = pictures["front"]
    assert picture.solids[int(v), int(u)] == 0
    assert picture.distance[int(v), int(u)] == pytest.approx(6.0 - 1.2 - 0.8, abs=0.15)
    assert all((pictures[view].solids == NOTHING).all() for view in rig.cameras if view != "front")


def test_the_lid_of_a_low_cylinder_is_seen_from_above():
    rig = ring_of_cameras(6, (33, 49))
    eye, low = rig.cameras["front"], replace(solid("cylinder", 3.2, 0.0, (0.5, 0.5)), height=0.6)
    (u, v), _ = eye.project([3.2, 0.0, 0.6])
    picture, ray = RayCaster(rig).pictures(scene(low))["front"], eye.rays(eye.size)[int(v), int(u)]
    assert picture.solids[int(v), int(u)] == 0
    assert picture.distance[int(v), int(u)] == pytest.approx((1.6 - 0.6) / -ray[2])


def test_every_pixel_shows_the_first_thing_that_its_ray_meets():
    """Against marching along the rays in small steps."""
    rig = ring_of_cameras(5, (11, 17))
    caster, step = RayCaster(rig), 0.02
    seen = 0
    for it in scenes(3):
        pictures = caster.pictures(it)
        for view, eye in rig.cameras.items():
            along = np.arange(step / 2, 12, step)
            points = eye.position + along[:, None, None, None] * eye.rays(eye.size)
            first = np.full(eye.size, np.inf)
            owner = np.full(eye.size, NOTHING)
            for number, thing in enumerate(it.solids):
                within = inside(thing, points)
                reach = np.where(within.any(axis=0), along[within.argmax(axis=0)], np.inf)
                owner[reach < first] = number
                first = np.minimum(first, reach)
            picture = pictures[view]
            hit = np.isfinite(first)
            same = hit & (picture.solids == owner)
            assert same.sum() >= 0.98 * hit.sum()  # a step may miss an edge
            np.testing.assert_allclose(picture.distance[same], first[same], atol=step)
            phantom = (picture.solids != NOTHING) & ~hit & (picture.distance < 11)
            assert phantom.mean() < 0.02
            ground = picture.solids == NOTHING
            reach = np.where(eye.rays(eye.size)[..., 2] < 0, eye.position[2] / -eye.rays(eye.size)[..., 2], np.inf)
            np.testing.assert_allclose(picture.distance[ground], reach[ground])
            seen += int(same.sum())
    assert seen > 100


def test_the_sun_shows_the_heading():
    """It stands straight ahead at heading 0, and to the right of a vehicle that has turned left."""
    rig = ring_of_cameras(6, (32, 48))
    eye, caster = rig.cameras["front"], RayCaster(rig)
    for yaw in (0.0, 0.3, -0.3):
        bright = caster.pictures(scene(yaw=yaw))["front"].pixels.astype(int).sum(axis=0)
        _, u = np.argwhere(bright > 715).mean(axis=0) + 0.5
        away = math.atan((eye.intrinsics[0, 2] - u) / eye.intrinsics[0, 0])  # to the left
        assert away == pytest.approx(-yaw, abs=0.06)


def test_the_far_side_of_the_scene_differs_from_the_near_one():
    """Headings to both sides of the sun look different in every camera, also where the sun is not in sight."""
    caster = RayCaster(ring_of_cameras(6, (16, 24)))
    left, right = caster.pictures(scene(yaw=1.2)), caster.pictures(scene(yaw=-1.2))
    for view, picture in left.items():
        sky = picture.pixels[:, :4].astype(int) - right[view].pixels[:, :4]
        assert np.abs(sky).mean() > 2


# Answers from the pictures


def test_the_class_of_each_camera_is_that_of_its_own_buffers():
    rig = ring_of_cameras(6, (32, 48))
    caster, answers = RayCaster(rig), []
    for it in scenes(25):
        for picture in caster.pictures(it).values():
            best, answer = math.inf, 0
            for number, thing in enumerate(it.solids):
                mine = picture.solids == number
                if mine.sum() >= 4 and picture.distance[mine].min() < best:
                    best, answer = picture.distance[mine].min(), 1 + KINDS.index(thing.kind)
            answers.append(answer)
            assert nearest_kind(it, picture) == answer
    assert set(answers) == {0, 1, 2, 3}


def test_the_count_is_of_solids_on_the_grid_that_some_camera_shows():
    hidden = replace(solid("cylinder", 8.0, 0.0, (0.4, 0.4)), height=1.0)  # in the shade of the box
    it = scene(solid("box", 4.0, 0.0, (0.8, 2.5)), hidden, solid("sphere", -5.0, 0.0), solid("sphere", 0.0, 9.0))
    pictures = RayCaster(ring_of_cameras(4, (32, 48))).pictures(it)
    assert {view: visible(picture) for view, picture in pictures.items()} == {
        "front": {0},
        "left": {3},
        "rear": {2},
        "right": set(),
    }
    everywhere = (-9.0, 9.0, -10.0, 10.0)
    assert count(it, pictures, everywhere) == 3
    assert count(it, pictures, (-9.0, 9.0, -8.0, 8.0)) == 2
    assert count(it, {"rear": pictures["rear"], "right": pictures["right"]}, everywhere) == 1


# The data set


def test_columns_and_arrays_fit_together():
    data = SyntheticConfig(samples=13, cameras=5, size=(10, 14), grid=(6, 7), seed=2).build()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [9, 2, 2]
    assert data.shapes == dict.fromkeys(CAMERA_NAMES[5], (3, 10, 14))
    data.rig.check(data.shapes)
    for part in (data.train, data.test):
        assert part.targets.keys() == data.columns.keys()
        assert part.targets["occupancy"].shape == (len(part), 6, 7)
        assert part.targets["occupancy"].dtype == np.uint8
        assert part.targets["heading"].dtype == np.float32
        assert part.targets["count"].shape == part.targets["heading"].shape == (len(part), 1)
        assert all(images.dtype == np.uint8 for images in part.views.values())
        assert all(there.all() for there in part.present.values())
    nearest = [data.train.targets[f"nearest_{view}"] for view in CAMERA_NAMES[5]]
    assert np.stack(nearest).min() >= 0
    assert len(data.columns["nearest_front"].names) == 4 == len(data.columns["occupancy"].names)


def digest(samples: Samples):
    """A checksum of all pixels and of the answers that are whole numbers."""
    parts = [*samples.views.values(), samples.targets["occupancy"], samples.targets["count"].astype(np.int64)]
    parts += [values for name, values in samples.targets.items() if name.startswith("nearest")]
    return zlib.crc32(b"".join(np.ascontiguousarray(part).tobytes() for part in parts))


def test_a_seed_gives_the_same_samples_for_ever():
    first = SyntheticConfig(samples=6, seed=3).build()
    assert digest(first.train) == DIGEST
    assert digest(SyntheticConfig(samples=6, seed=3).build().train) == DIGEST
    assert digest(SyntheticConfig(samples=6, seed=4).build().train) != DIGEST


def test_a_sample_does_not_depend_on_how_many_there_are_or_what_is_missing():
    few = SyntheticConfig(samples=5, size=(8, 12), seed=1).build().train
    many = SyntheticConfig(samples=18, size=(8, 12), seed=1, missing=0.4).build().train
    for view, images in few.views.items():
        there = many.present[view][:5]
        assert 0 < many.present[view].sum() < 12
        np.testing.assert_array_equal(many.views[view][:5][there], images[there])
        assert not many.views[view][:5][~there].any()
        nearest = many.targets[f"nearest_{view}"]
        np.testing.assert_array_equal(nearest[:5][there], few.targets[f"nearest_{view}"][there])
        assert (nearest[~many.present[view]] == -1).all()
    for name in ("occupancy", "heading"):
        np.testing.assert_array_equal(many.targets[name][:5], few.targets[name])
    assert (many.targets["count"][:5] <= few.targets["count"]).all()


def test_the_missing_share_is_as_asked_and_no_sample_is_without_a_camera():
    there = np.stack([draw_cameras(np.random.default_rng(seed), 4, 0.6) for seed in range(1500)])
    assert there.any(axis=1).all()
    assert there.mean() == pytest.approx(0.4 + 0.6**4 / 4, abs=0.03)


def test_solids_stand_apart_and_off_the_vehicle():
    sizes, headings = [], []
    for it in scenes(60):
        spread = np.random.default_rng(0).uniform(-3, 3, size=(500, 3))
        for number, thing in enumerate(it.solids):
            points = spread * (1, 1, 0) + (thing.x, thing.y, thing.height / 2)
            mine = points[inside(thing, points)]
            assert (np.hypot(mine[:, 0], mine[:, 1]) >= 2).all()
            for other in it.solids[number + 1 :]:
                assert not inside(other, mine * (1, 1, 0) + (0, 0, other.height / 2)).any()
        sizes.append(len(it.solids))
        headings.append(math.degrees(math.atan2(it.heading[1], it.heading[0])))
        assert math.hypot(*it.heading) == pytest.approx(1)
    assert set(sizes) == {2, 3, 4, 5, 6, 7}
    assert -90 <= min(headings) < -60
    assert 60 < max(headings) <= 90


@pytest.mark.parametrize("cameras", sorted(CAMERA_NAMES))
def test_cameras_look_outwards_all_around(cameras):
    rig = ring_of_cameras(cameras, (12, 20))
    assert len(rig.cameras) == cameras
    yaws = [math.degrees(math.atan2(*eye.rotation[[1, 0], 2])) % 360 for eye in rig.cameras.values()]
    np.testing.assert_allclose(yaws, np.arange(cameras) * 360 / cameras, atol=1e-6)
    for name, yaw in zip(rig.cameras, yaws, strict=True):
        assert ("left" in name) == (5 < yaw < 175)
        assert ("right" in name) == (185 < yaw < 355)
        assert ("front" in name) == (math.cos(math.radians(yaw)) > 0.25)
    far = np.array([[50 * math.cos(a), 50 * math.sin(a), 0] for a in np.linspace(0, 2 * math.pi, 90)])
    seen = []
    for eye in rig.cameras.values():
        pixels, _ = eye.project(far)
        seen.append(((pixels >= 0) & (pixels <= (20, 12))).all(axis=1))
    assert np.any(seen, axis=0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 0}, "samples must be at least 1, given 0"),
        ({"samples": 3, "cameras": 3}, "cameras must be at least 4, given 3"),
        ({"samples": 3, "cameras": 9}, "cameras must be at most 8, given 9"),
        ({"samples": 3, "grid": (3, 0)}, "grid.1 must be at least 1, given 0"),
        ({"samples": 3, "size": (-5, 7)}, "size.0 must be at least 1, given -5"),
        ({"samples": 3, "missing": 1.0}, "missing must be below 1, given 1.0"),
        ({"samples": 3, "extent": (1.0, 1.0, 0.0, 2.0)}, "extent must be x from and to"),
        ({"samples": 3, "seed": -1}, "seed must be at least 0, given -1"),
    ],
)
def test_numbers_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SyntheticConfig(**arguments)
