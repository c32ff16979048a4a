"""Images that stay on disk say what arrays would, and read only what is asked for."""

import pickle

import numpy as np
import pytest
from PIL import Image

from hybridvit.data import file_images
from hybridvit.data import load as datasets
from hybridvit.data.file_images import FileImages, for_statistics, join_images, pixels
from hybridvit.data.load import DataConfig
from hybridvit.data.loaders.memory import GIB, allowed_bytes, free_host_bytes
from hybridvit.data.readers.folder import read_folder
from hybridvit.data.readers.manifest import ColumnRequest, read_manifest
from hybridvit.data.samples import Samples

H, W = 5, 7


@pytest.fixture
def pictures(tmp_path):
    """Eleven files and their pixels ``[n, c, h, w]``, one of the names not ASCII."""
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 256, (11, H, W, 3), dtype=np.uint8)
    paths = [tmp_path / f"{index}{'é' * (index == 3)}.png" for index in range(len(arrays))]
    for path, array in zip(paths, arrays, strict=True):
        Image.fromarray(array).save(path)
    return paths, arrays.transpose(0, 3, 1, 2)


def folder(root, parts=("",), count=6):
    rng = np.random.default_rng(0)
    for part in parts:
        for name in ("bee", "cat"):
            for index in range(count):
                path = root / part / name / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (H, W, 3), dtype=np.uint8)).save(path)
    return root


@pytest.mark.parametrize(
    "index",
    [slice(2, 9, 3), slice(0, 0), np.array([4, 4, 0]), np.arange(11) % 4 == 1, np.zeros(0, np.int64)],
    ids=str,
)
def test_an_index_gives_what_it_gives_of_an_array(pictures, index):
    paths, arrays = pictures
    files = FileImages.of(paths, 3, (H, W))
    for made, expected in ((files, arrays), (files[index], arrays[index]), (files[::-2][1:], arrays[::-2][1:])):
        assert isinstance(made, FileImages)
        assert made.shape == expected.shape
        assert (len(made), made.dtype, made.nbytes) == (len(expected), expected.dtype, expected.nbytes)
        assert np.array_equal(made.read(), expected)


def test_indexing_reads_nothing(pictures):
    paths, _ = pictures
    files = pickle.loads(pickle.dumps(FileImages.of(paths, 3, (H, W))[3:]))
    assert files.path(0) == paths[3]
    paths[3].unlink()
    paths[5].write_bytes(b"no picture")
    assert len(files[:3]) == 3
    with pytest.raises(ValueError, match=r"3é\.png cannot be read as an image: No such file"):
        files.read_one(0)
    with pytest.raises(ValueError, match=r"^2 files cannot be read: .*3é\.png \(No such file.*; .*5\.png \(no known"):
        files.read()
    assert files[3:].read().shape == (5, 3, H, W)


def test_pictures_are_resized_as_in_memory_and_missing_ones_are_black(pictures):
    paths, _ = pictures
    files = FileImages.of([paths[1], None], 1, (3, 4))
    assert files.path(1) is None
    expected = np.asarray(Image.open(paths[1]).convert("L").crop((0, 0, 7, 5)))
    assert files.read_one(0).shape == (1, 3, 4)
    assert np.array_equal(files.read()[0], files.read_one(0))
    assert abs(float(files.read_one(0).mean()) - float(expected.mean())) < 30
    assert not files.read_one(1).any()
    assert not FileImages.of([None, None], 3, (2, 2)).read().any()


def test_statistics_come_from_an_even_sample(pictures, monkeypatch):
    paths, arrays = pictures
    files = FileImages.of(paths, 3, (H, W))
    assert np.array_equal(for_statistics(files), arrays)
    assert for_statistics(arrays) is arrays
    monkeypatch.setattr(file_images, "STATISTICS_IMAGES", 6)
    assert np.array_equal(for_statistics(files), arrays[::2])
    monkeypatch.setattr(file_images, "STATISTICS_BYTES", 3 * 3 * H * W)
    assert np.array_equal(for_statistics(files), arrays[[0, 5, 10]])


def test_files_change_their_digest(pictures):
    paths, _ = pictures
    files = FileImages.of(paths, 3, (H, W))
    before = files.digest()
    assert FileImages.of(paths, 3, (H, W)).digest() == before
    assert files[::-1].digest() != before
    assert FileImages.of(paths, 3, (H, W + 1)).digest() != before
    paths[2].write_bytes(paths[2].read_bytes() + b"more")
    assert files.digest() != before


def test_several_are_joined_where_all_are_on_disk(pictures):
    paths, arrays = pictures
    files = FileImages.of(paths, 3, (H, W))
    joined = join_images([files[8:], FileImages.of([None], 3, (H, W)), files[:2]])
    assert np.array_equal(joined.read(), np.concatenate([arrays[8:], np.zeros_like(arrays[:1]), arrays[:2]]))
    assert np.array_equal(join_images([arrays[:2], arrays[5:]]), np.concatenate([arrays[:2], arrays[5:]]))
    with pytest.raises(ValueError, match=r"some data sets are in memory .* allow more, or save all images as files"):
        join_images([files, arrays])


def test_samples_know_where_their_images_are(pictures):
    paths, arrays = pictures
    samples = Samples({"image": FileImages.of(paths, 3, (H, W))}, {"label": np.arange(11)})
    assert samples.on_disk
    assert samples.nbytes == arrays.nbytes
    part = samples[np.array([3, 1])]
    assert part.on_disk
    assert part.targets["label"].tolist() == [3, 1]
    read = part.in_memory()
    assert not read.on_disk
    assert np.array_equal(read.views["image"], arrays[[3, 1]])
    assert pixels(read.views["image"]) is read.views["image"]


def test_a_folder_stays_on_disk_where_it_does_not_fit(tmp_path):
    folder(tmp_path, ("train", "val", "test"))
    whole = read_folder(tmp_path, 4, False)
    total = 36 * 3 * 4 * 4
    assert not read_folder(tmp_path, 4, False, total).train.on_disk
    lazy = read_folder(tmp_path, 4, False, total - 1)
    assert lazy.shapes == whole.shapes
    for part in ("train", "validation", "test"):
        here, there = getattr(whole, part), getattr(lazy, part)
        assert there.on_disk
        assert np.array_equal(there.in_memory().views["image"], here.views["image"])
        assert np.array_equal(there.targets["label"], here.targets["label"])


def test_files_without_a_header_are_still_found(tmp_path):
    folder(tmp_path)
    (tmp_path / "bee" / "1.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"1 file cannot be read: .*bee/1.png \(no known image format\)"):
        read_folder(tmp_path, 4, False, 0)
    with pytest.warns(UserWarning, match="skipped unreadable files: 1 file cannot"):
        lazy = read_folder(tmp_path, 4, True, 0)
    assert lazy.train.targets["label"].tolist() == [0] * 5 + [1] * 6
    assert np.array_equal(lazy.train.in_memory().views["image"].shape, (11, 3, 4, 4))


def test_a_manifest_stays_on_disk_where_it_does_not_fit(pictures):
    paths, _ = pictures
    rows = ["image:a,image:b,split,boxes"]
    for index in range(10):
        second = paths[index + 1].name if index != 4 else ""
        rows.append(f'{paths[index].name},{second},{"test" if index > 6 else ""},"[[""x"", 1, 1, 5, 4]]"')
    path = paths[0].with_name("set.csv")
    path.write_text("\n".join(rows), encoding="utf-8")
    wanted = {"boxes": ColumnRequest("boxes")}
    whole, lazy = read_manifest(path, wanted, (4, 6)), read_manifest(path, wanted, (4, 6), memory=0)
    assert read_manifest(path, wanted, (4, 6), memory=20 * 3 * 4 * 6).train.on_disk is False
    for part in ("train", "test"):
        here, there = getattr(whole, part), getattr(lazy, part)
        assert there.on_disk
        read = there.in_memory()
        for view in ("a", "b"):
            assert np.array_equal(read.views[view], here.views[view])
        assert np.array_equal(read.targets["boxes"], here.targets["boxes"])
        assert np.array_equal(read.present["b"], here.present["b"])


def load(seed=0, **config):
    return datasets.load(DataConfig(**config), seed, {"label": ColumnRequest("class")})


def test_splits_do_not_depend_on_where_images_are(tmp_path):
    root = str(folder(tmp_path))
    whole, lazy = load(root=root, image_size=4), load(root=root, image_size=4, memory=0.0)
    for part in ("train", "validation", "test"):
        here, there = getattr(whole, part), getattr(lazy, part)
        assert (here.on_disk, there.on_disk) == (False, True)
        assert np.array_equal(there.in_memory().views["image"], here.views["image"])
        assert np.array_equal(there.targets["label"], here.targets["label"])


def test_what_fits_after_all_is_read(tmp_path):
    root = str(folder(tmp_path))
    one = 3 * 4 * 4
    some = load(root=root, image_size=4, train_images=5, memory=5 * one / GIB)  # 4 to train on, 1 to select by
    assert [part.on_disk for part in (some.train, some.validation, some.test)] == [False, False, True]
    fewer = load(root=root, image_size=4, train_images=5, memory=4 * one / GIB)
    assert [part.on_disk for part in (fewer.train, fewer.validation, fewer.test)] == [False, True, True]


def test_several_roots_are_on_disk_together(tmp_path):
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two", count=3)
    total = (12 + 6) * 3 * H * W
    roots = (str(one), str(two))
    whole = load(root=roots, memory=total / GIB)
    assert not whole.train.on_disk
    lazy = load(root=roots, memory=(total - 1) / GIB, test=0.0, validation=0.0)
    assert lazy.train.on_disk
    both = np.concatenate([read_folder(each, None, False).train.views["image"] for each in (one, two)])
    assert np.array_equal(lazy.train.in_memory().views["image"], both)
    assert lazy.train.sources.tolist() == [0] * 12 + [1] * 6


def test_masks_that_cannot_be_held_are_refused(pictures, monkeypatch):
    paths, _ = pictures
    Image.fromarray(np.ones((H, W), np.uint8)).save(paths[0].with_name("mask.png"))
    path = paths[0].with_name("set.csv")
    path.write_text("image,floor\n0.png,mask.png\n1.png,mask.png\n")
    wanted = {"floor": ColumnRequest("mask")}
    monkeypatch.setattr("hybridvit.data.readers.row_files.free_host_bytes", lambda: 2 * H * W)
    assert read_manifest(path, wanted, memory=0).train.on_disk
    monkeypatch.setattr("hybridvit.data.readers.row_files.free_host_bytes", lambda: 2 * H * W - 1)
    with pytest.raises(
        ValueError, match=r"masks of column 'floor' are held in memory and take .* smaller data\.image_s"
    ):
        read_manifest(path, wanted, memory=0)


def test_memory_is_refused_where_it_has_no_effect():
    for config in ({}, {"dataset": "mnist"}, {"root": "a.npz"}, {"root": ("a.npz", "b.npz")}, {"synthetic": None}):
        with pytest.raises(ValueError, match="memory has no effect: only images of folders and manifests"):
            DataConfig(memory=1.0, **config)
    assert DataConfig(memory=1.0, root=("a.npz", "folder")).memory == 1.0
    for memory, message in ((-1.0, "at least 0, given -1.0"), (float("nan"), "a finite number, given nan")):
        with pytest.raises(ValueError, match=f"memory must be {message}"):
            DataConfig(memory=memory, root="folder")


def test_a_third_of_what_is_free(monkeypatch):
    assert allowed_bytes(1.5) == 3 * 2**29
    monkeypatch.setattr("hybridvit.data.loaders.memory.free_host_bytes", lambda: 3000)
    monkeypatch.setattr("hybridvit.data.loaders.memory.free_device_bytes", lambda: None)
    assert allowed_bytes(None) == 1000
    monkeypatch.setattr("hybridvit.data.loaders.memory.free_device_bytes", lambda: 300)
    assert allowed_bytes(None) == 100


def test_a_container_may_have_less_than_its_host(tmp_path):
    host = free_host_bytes(tmp_path)
    assert host > 2**20
    (tmp_path / "memory.current").write_text("900\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert free_host_bytes(tmp_path) > 2**20
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_host_bytes(tmp_path) == 100
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 70\n")
    assert free_host_bytes(tmp_path) == 170
