"""Batches from images that stay on disk, read ahead by worker processes; resumable at any step."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from types import TracebackType

import torch
from torch.utils.data import DataLoader

from hybridvit.data.batch import Batch
from hybridvit.data.loaders.device_loader import DeviceSamples, TrainingData, erased_and_mixed
from hybridvit.data.loaders.file_batches import STREAM, FileBatches, Key
from hybridvit.data.loaders.sampling import BatchSampler, seed_of
from hybridvit.data.samples import ONE_VIEW

MOST_WORKERS = 8


class FileLoader:
    """The training batches of images on disk, each a function of the seed and the step alone.

    Workers start at the first batch and read ahead. They end with the last step, with :meth:`close`, when a batch
    fails, and when nothing refers to the loader any more.
    """

    def __init__(self, data: TrainingData) -> None:
        self.data = data
        self.source = FileBatches(data.samples, data.columns, data.augmentation, data.seed)
        self._next = 0
        self._read: Iterator[DeviceSamples] | None = None

    def batch(self, step: int) -> Batch:
        """The batch of this step, counted from 0; quick for the one that follows the last.

        Raises:
            ValueError: naming a file that is gone or no image.
        """
        data = self.data
        if self._read is None or step != self._next:
            self.close()
            self._read = read_ahead(self.source, _keys(data.sampler, step, data.steps), data.device)
        try:
            batch = next(self._read).to(data.device).batch(data.columns, data.normalisation)
        except BaseException:  # also an interrupt
            self.close()
            raise
        self._next = step + 1
        if self._next == data.steps:
            self.close()
        if data.samples.views.keys() != {ONE_VIEW}:
            return batch
        generator = torch.Generator(data.device).manual_seed(seed_of(STREAM, data.seed, step))
        return erased_and_mixed(batch, data.augmentation, generator)

    def close(self) -> None:
        """Ends the workers; the next batch starts others."""
        self._read = None


def _keys(sampler: BatchSampler, start: int, end: int | None) -> Iterator[Key]:
    """The samples of one step after the other."""
    for step in count(start) if end is None or end <= start else range(start, end):
        yield step, sampler.indices(step)


def read_ahead(source: FileBatches, keys: Iterable[Key], device: torch.device) -> Iterator[DeviceSamples]:
    """What workers read for each key, in order; they start now, and end with the iterator.

    Raises:
        ValueError: while iterating, naming a file that is gone or no image.
    """
    workers = _workers()
    loader = DataLoader(
        source,
        batch_size=None,  # a key stands for a whole batch
        sampler=keys,
        num_workers=workers,
        multiprocessing_context=_start_method() if workers else None,
        pin_memory=device.type == "cuda",
        worker_init_fn=_leave_ending_to_the_parent,
        generator=torch.Generator().manual_seed(0),  # else it would draw from the run's own
    )
    with _interrupts_held_back():
        batches = iter(loader)
    return map(_checked, batches)


def _checked(read: DeviceSamples | str) -> DeviceSamples:
    if isinstance(read, str):
        raise ValueError(read)
    return read


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Ctrl-C waits meanwhile; processes started here never see one, so none gets it before it can ignore it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _workers() -> int:
    """A process for each core that is ours, at most 8; none in a process that may not have any."""
    if multiprocessing.current_process().daemon:
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


def _start_method() -> str:
    """How this process starts others; torch cannot use joblib's way, which is the default in a study's processes."""
    method = multiprocessing.get_start_method()
    if method in ("fork", "spawn", "forkserver"):
        return method
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


def _leave_ending_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches all processes; the one that started the workers ends them, and alone speaks of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _say_unless_left


def _say_unless_left(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """What a worker's threads say of an error, but not that the parent broke off while a batch was handed over."""
    if not isinstance(error, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, trace)
