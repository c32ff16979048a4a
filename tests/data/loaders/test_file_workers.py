"""Workers of the loader of images on disk: what goes wrong is said in one line, and none is left behind."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.file_images import FileImages
from hybridvit.data.loaders import file_loader
from hybridvit.data.loaders.batches import EvaluationLoader
from hybridvit.data.loaders.device_loader import DeviceSamples, Normalisation, TrainingData
from hybridvit.data.loaders.file_loader import FileLoader
from hybridvit.data.loaders.sampling import BatchSampler, SamplingConfig
from hybridvit.data.samples import Column, Samples

CPU = torch.device("cpu")
N, H, W = 13, 6, 7
SETTINGS = {"label": Column("class", ())}, {"image": Normalisation((0.0,) * 3, (1.0 / 255,) * 3)}


@pytest.fixture
def samples(tmp_path):
    """Thirteen pictures on disk; the label is their number."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{index}.png" for index in range(N)]
    for path in paths:
        Image.fromarray(rng.integers(1, 256, (H, W, 3), dtype=np.uint8)).save(path)
    return Samples({"image": FileImages.of(paths, 3, (H, W))}, {"label": np.arange(N)})


@pytest.fixture
def two(monkeypatch):
    monkeypatch.setattr(file_loader, "_workers", lambda: 2)


def loader(samples, augmentation=AugmentConfig(), steps=None):  # noqa: B008
    order = BatchSampler(samples.sources, 4, 0, SamplingConfig())
    return FileLoader(TrainingData(samples, *SETTINGS, augmentation, order, 0, CPU, steps))


def workers():
    return [process for process in psutil.Process().children() if process.status() != psutil.STATUS_ZOMBIE]


def check_no_workers():
    ends = time.monotonic() + 20
    while workers() and time.monotonic() < ends:
        time.sleep(0.01)
    assert not workers()


def test_the_workers_of_an_evaluation_end_with_it(samples, two):
    source = EvaluationLoader(samples, *SETTINGS, 5, CPU)
    assert len(list(source)) == 3
    check_no_workers()
    for batch in source:
        assert len(batch.images) == 5
        assert len(workers()) == 2
        break  # a pass that is broken off
    check_no_workers()


@pytest.mark.parametrize("number", [0, 2])
def test_a_file_that_vanished_is_one_line(samples, monkeypatch, number):
    monkeypatch.setattr(file_loader, "_workers", lambda: number)
    source = loader(samples)
    source.batch(0)
    gone = samples.views["image"].path(int(source.data.sampler.indices(12)[1]))
    gone.unlink()
    with pytest.raises(ValueError, match=rf"^{gone} cannot be read as an image: No such file") as error:
        source.batch(12)
    assert "\n" not in str(error.value)
    gone.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"cannot be read as an image: no known image format$"):
        list(EvaluationLoader(samples, *SETTINGS, 5, CPU))
    check_no_workers()


def test_workers_end_with_the_last_step(samples, two):
    source = loader(samples, steps=3)
    source.batch(0)
    source.batch(1)
    assert len(workers()) == 2
    last = source.batch(2)
    check_no_workers()
    assert torch.equal(source.batch(2).images, last.images)
    check_no_workers()
    assert len(source.batch(7).images) == 4  # beyond what was said


@pytest.mark.parametrize("how", ["close", "collected", "another step"])
def test_workers_end_when_nobody_needs_them(samples, two, how):
    source = loader(samples)
    source.batch(0)
    first = workers()
    assert len(first) == 2
    if how == "close":
        source.close()
    elif how == "collected":
        del source
    else:
        source.batch(5)
        assert len(workers()) == 2
        assert not any(process.is_running() and process in first for process in workers())
        source.close()
    check_no_workers()


def test_an_interrupt_while_waiting_ends_the_workers(samples, two, monkeypatch):
    source = loader(samples)
    source.batch(0)

    def interrupt(drawn, device):
        raise KeyboardInterrupt

    monkeypatch.setattr(DeviceSamples, "to", interrupt)
    with pytest.raises(KeyboardInterrupt):
        source.batch(1)
    check_no_workers()


def test_an_interrupt_is_not_for_the_workers_to_answer(samples, two):
    source = loader(samples)
    source.batch(0)
    for worker in workers():
        os.kill(worker.pid, signal.SIGINT)
    assert [len(source.batch(step).images) for step in range(1, 9)] == [4] * 8


def test_nor_one_that_comes_before_they_are_ready(samples, two, monkeypatch):
    prepare = file_loader._leave_ending_to_the_parent
    monkeypatch.setattr(file_loader, "_leave_ending_to_the_parent", lambda worker: (time.sleep(1), prepare(worker)))
    source = loader(samples)
    read_ahead, mask = file_loader.read_ahead, signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def interrupted(*arguments):
        reads = read_ahead(*arguments)
        for worker in workers():
            os.kill(worker.pid, signal.SIGINT)
        return reads

    monkeypatch.setattr(file_loader, "read_ahead", interrupted)
    assert [len(source.batch(step).images) for step in range(9)] == [4] * 9
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


def test_ctrl_c_leaves_no_process_and_says_it_once(samples):
    script = f"""
        import multiprocessing
        import signal
        import numpy as np
        import torch
        from hybridvit.data.loaders import file_loader
        from hybridvit.data.loaders.device_loader import Normalisation, TrainingData
        from hybridvit.data.file_images import FileImages
        from hybridvit.data.loaders.sampling import BatchSampler, SamplingConfig
        from hybridvit.data.samples import Column, Samples
        from hybridvit.data.augment.transforms import AugmentConfig

        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
        file_loader._workers = lambda: 2
        files = FileImages({samples.views["image"].paths.tolist()!r}, 3, ({H}, {W}))
        files.paths = np.array(files.paths)
        samples = Samples({{"image": files}}, {{"label": np.arange({N})}})
        source = file_loader.FileLoader(TrainingData(
            samples, {{"label": Column("class", ())}}, {{"image": Normalisation((0.0,) * 3, (1.0,) * 3)}},
            AugmentConfig(), BatchSampler(samples.sources, 4, 0, SamplingConfig()), 0, torch.device("cpu"),
        ))
        source.batch(0)
        print(*(process.pid for process in multiprocessing.active_children()), flush=True)
        step = 1
        while True:
            source.batch(step)
            step += 1
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    children = [int(word) for word in process.stdout.readline().split()]
    assert len(children) == 2, process.communicate()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert errors.count("Traceback") == 1, errors
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert not any(psutil.pid_exists(child) for child in children)


def test_workers_may_be_spawned(samples, monkeypatch):
    monkeypatch.setattr(file_loader, "_workers", lambda: 1)
    monkeypatch.setattr(file_loader, "_start_method", lambda: "spawn")
    batch = loader(samples, steps=1).batch(0)
    monkeypatch.setattr(file_loader, "_workers", lambda: 0)
    assert torch.equal(batch.images, loader(samples).batch(0).images)


@pytest.mark.parametrize(("default", "used"), [("fork", "fork"), ("spawn", "spawn"), ("loky", "fork")])
def test_workers_are_started_as_this_process_starts_others(monkeypatch, default, used):
    monkeypatch.setattr(multiprocessing, "get_start_method", lambda: default)
    assert file_loader._start_method() in (used, "spawn")
    if used in multiprocessing.get_all_start_methods():
        assert file_loader._start_method() == used


@pytest.mark.parametrize("policy", ["trivial", "rand"])
def test_what_workers_do_can_be_pickled(samples, policy):
    source = loader(samples, AugmentConfig(crop_padding=2, flip=True, policy=policy)).source
    again = pickle.loads(pickle.dumps(source))
    key = (3, np.array([5, 0, 5]))
    assert torch.equal(again[key].views["image"], source[key].views["image"])


def test_a_process_that_may_have_no_children_reads_itself(samples, monkeypatch):
    assert 1 <= file_loader._workers() <= 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(96)), raising=False)
    assert file_loader._workers() == 8

    class Daemon:
        daemon = True

    monkeypatch.setattr(multiprocessing, "current_process", Daemon)
    assert file_loader._workers() == 0
    assert len(loader(samples).batch(0).images) == 4
