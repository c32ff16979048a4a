"""Downloads through torchvision, without a network: what arrives, what does not, and what is left behind."""

import http.client
import tarfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from torchvision import datasets

from hybridvit.data.sets.named import NAMED

RNG = np.random.default_rng(0)
COUNTS = {"train": 7, "t10k": 3}


@pytest.fixture(autouse=True)
def urls(monkeypatch):
    """What was asked of the network, which refuses."""
    asked = []

    def refuse(request, *arguments, **options):
        asked.append(getattr(request, "full_url", request))
        raise URLError(OSError(101, "Network is unreachable"))

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.delenv("HYBRIDVIT_DATA", raising=False)
    return asked


@pytest.fixture
def server(monkeypatch):
    """Stands in for torchvision's download of a file of MNIST: writes what it would unpack."""

    class Server:
        served, broken = 0, None

        def __call__(self, url, download_root, filename, md5):
            if self.broken is not None and self.served == 1:
                (Path(download_root) / filename).write_bytes(b"half a file")
                raise self.broken
            self.served += 1
            part, kind = filename.split("-")[:2]
            count = COUNTS[part]
            if kind == "images":
                head, size = [0x00000803, count, 28, 28], 28 * 28
            else:
                head, size = [0x00000801, count], 1
            values = RNG.integers(0, 10, count * size, dtype=np.uint8).tobytes()
            name = filename.removesuffix(".gz")
            (Path(download_root) / name).write_bytes(np.array(head, ">i4").tobytes() + values)

    stand_in = Server()
    monkeypatch.setattr(datasets.mnist, "download_and_extract_archive", stand_in)
    return stand_in


def visible(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_what_is_not_there_is_downloaded_once(tmp_path, server, capsys):
    splits = NAMED["fashionmnist"](tmp_path)
    assert (len(splits.train), len(splits.test), server.served) == (7, 3, 4)
    lines = capsys.readouterr()
    assert lines.err.splitlines() == [f"downloading FashionMNIST with torchvision to {tmp_path}"]
    assert not lines.out  # --json prints there
    assert visible(tmp_path) == ["FashionMNIST"]
    again = NAMED["fashionmnist"](tmp_path)
    assert server.served == 4
    assert not capsys.readouterr().err
    assert np.array_equal(again.train.views["image"], splits.train.views["image"])


def test_an_npz_file_is_read_instead(tmp_path, server):
    arrays = {f"{part}_images": np.zeros((2, 28, 28), np.uint8) for part in ("train", "test")}
    arrays |= {f"{part}_labels": np.zeros(2, np.int64) for part in ("train", "test")}
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert len(NAMED["mnist"](tmp_path).train) == 2
    assert server.served == 0


def test_downloads_go_where_the_variable_says_or_to_the_cache(tmp_path, server, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert len(NAMED["mnist"](None).train) == 7
    assert visible(tmp_path / "home" / ".cache" / "hybridvit") == ["MNIST"]
    (tmp_path / "data").mkdir()
    monkeypatch.setenv("HYBRIDVIT_DATA", str(tmp_path / "data"))
    assert len(NAMED["mnist"](None).train) == 7
    assert visible(tmp_path / "data") == ["MNIST"]
    assert server.served == 8


@pytest.mark.parametrize("name", ["mnist", "fashionmnist", "multi_fashion_mnist", "cifar10", "cifar100"])
def test_a_mistyped_folder_is_no_place_for_a_download(tmp_path, urls, name):
    with pytest.raises(ValueError, match=r"no .* in .*tpyo \(data\.root\), which does not exist; put there"):
        NAMED[name](tmp_path / "tpyo")
    assert not urls
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mnist", "fashionmnist", "cifar10", "cifar100"])
def test_without_a_network_one_line_says_what_to_do(tmp_path, urls, name, monkeypatch):
    with pytest.raises(
        ValueError, match=r"torchvision cannot download it \(.*Network is unreachable.*\); put"
    ) as error:
        NAMED[name](tmp_path)
    assert urls
    assert "\n" not in str(error.value)
    assert f"put there {name}.npz, or what torchvision.datasets." in str(error.value)
    assert not visible(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"in .*/\.cache/hybridvit \(neither data\.root nor the variable HYBRIDVIT"):
        NAMED[name](None)


@pytest.mark.parametrize(
    "broken",
    [
        URLError("gone"),
        RuntimeError("File not found or corrupted."),
        http.client.IncompleteRead(b"", 5),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_download_that_breaks_off_leaves_nothing(tmp_path, server, broken):
    server.broken = broken
    with pytest.raises(ValueError, match="torchvision cannot download it"):
        NAMED["mnist"](tmp_path)
    assert not visible(tmp_path)
    server.broken = None
    assert len(NAMED["mnist"](tmp_path).train) == 7


def test_an_interrupted_download_leaves_nothing(tmp_path, server):
    server.broken = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        NAMED["mnist"](tmp_path)
    assert not visible(tmp_path)


def test_a_damaged_archive_is_refused_by_its_checksum(tmp_path, monkeypatch):
    class Response:
        url, length = "https://here", 5

        def __init__(self):
            self.left = [b"hello"]

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def read(self, size):
            return self.left.pop() if self.left else b""

    monkeypatch.setattr("urllib.request.urlopen", lambda *arguments, **options: Response())
    unpacked = []
    monkeypatch.setattr(tarfile, "open", lambda *arguments, **options: unpacked.append(arguments))
    with pytest.raises(ValueError, match=r"cannot download it \(File not found or corrupted\.\)"):
        NAMED["cifar10"](tmp_path)
    assert not unpacked
    assert not visible(tmp_path)
