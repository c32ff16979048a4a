"""Batches from images that stay on disk, read ahead by worker processes; resumable at any step."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from hybridvit.data.augment.config import AugmentConfig
from hybridvit.data.batch import Batch
from hybridvit.data.loaders.device_loader import DeviceSamples, Normalisation, erased_and_mixed
from hybridvit.data.loaders.file_batches import STREAM, FileBatches, Key, Read
from hybridvit.data.loaders.sampling import BatchSampler, seed_of
from hybridvit.data.samples import ONE_VIEW, Column, Samples

MOST_WORKERS = 8


class FileLoader:
    """The training batches, each a function of the seed and the step alone.

    Workers start at the first batch and read ahead. They end with the last step, with :meth:`close`, when a batch
    fails, and when nothing refers to the loader any more.

    Args:
        samples: what to draw from, images on disk.
        columns: what their targets hold.
        normalisation: of each view, applied after augmentation.
        augmentation: drawn for each sample alone; the images of several cameras are left alone.
        sampler: which samples a step sees.
        seed: seed of the augmentation.
        device: where batches go.
        steps: number of batches that will be asked for; None: not known.
    """

    def __init__(
        self,
        samples: Samples,
        columns: Mapping[str, Column],
        normalisation: Mapping[str, Normalisation],
        augmentation: AugmentConfig,
        sampler: BatchSampler,
        seed: int,
        device: torch.device,
        steps: int | None = None,
    ) -> None:
        self.source = FileBatches(samples, columns, augmentation, seed)
        self.finish = _Finish(samples, columns, normalisation, device)
        self.augmentation, self.sampler, self.seed, self.device, self.steps = augmentation, sampler, seed, device, steps
        self._next = 0
        self._read: Iterator[Read] | None = None

    def batch(self, step: int) -> Batch:
        """The batch of this step, counted from 0; quick for the one that follows the last.

        Raises:
            ValueError: naming a file that is gone or no image.
        """
        if self._read is None or step != self._next:
            self.close()
            self._read = _read_ahead(self.source, _Steps(self.sampler, step, self.steps), self.device)
        try:
            batch = self.finish(next(self._read))
        except BaseException:  # also an interrupt
            self.close()
            raise
        self._next = step + 1
        if self._next == self.steps:
            self.close()
        if self.source.views.keys() != {ONE_VIEW}:
            return batch
        generator = torch.Generator(self.device).manual_seed(seed_of(STREAM, self.seed, step))
        return erased_and_mixed(batch, self.augmentation, generator)

    def close(self) -> None:
        """Ends the workers; the next batch starts others."""
        self._read = None


class FileEvaluationLoader:
    """All samples once, in order, without augmentation; arguments as for :class:`FileLoader`.

    Every pass starts its own workers, which end with it.
    """

    def __init__(
        self,
        samples: Samples,
        columns: Mapping[str, Column],
        normalisation: Mapping[str, Normalisation],
        batch_size: int,
        device: torch.device,
    ) -> None:
        self.count, self.batch_size, self.device = len(samples), batch_size, device
        self.source = FileBatches(samples, columns, None, 0)
        self.finish = _Finish(samples, columns, normalisation, device)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Batch]:
        starts = range(0, self.count, self.batch_size)
        keys = [(0, np.arange(start, min(start + self.batch_size, self.count))) for start in starts]
        for read in _read_ahead(self.source, keys, self.device):
            yield self.finish(read)


class _Steps:
    """The samples of one step after the other."""

    def __init__(self, sampler: BatchSampler, start: int, end: int | None) -> None:
        self.sampler = sampler
        self.steps: Iterable[int] = count(start) if end is None or end <= start else range(start, end)

    def __iter__(self) -> Iterator[Key]:
        for step in self.steps:
            yield step, self.sampler.indices(step)


class _Finish:
    """Makes of what workers read a batch on the device."""

    def __init__(
        self,
        samples: Samples,
        columns: Mapping[str, Column],
        normalisation: Mapping[str, Normalisation],
        device: torch.device,
    ) -> None:
        self.targets = {name: torch.from_numpy(values) for name, values in samples.targets.items()}
        self.present = {view: torch.from_numpy(mask) for view, mask in samples.presence.items()}
        self.columns, self.normalisation, self.device = columns, normalisation, device

    def __call__(self, read: Read) -> Batch:
        if read.wrong:
            raise ValueError(read.wrong)
        placed = read.placed
        targets = {name: placed[name] if name in placed else values[read.rows] for name, values in self.targets.items()}
        present = {view: mask[read.rows] for view, mask in self.present.items()}
        parts = (read.views, targets, present)
        on_device = DeviceSamples(
            *({name: values.to(self.device, non_blocking=True) for name, values in part.items()} for part in parts)
        )
        return on_device.batch(self.columns, self.normalisation)


def _read_ahead(source: FileBatches, keys: Any, device: torch.device) -> Iterator[Read]:
    """What workers read for each key, in order; they end with the iterator."""
    workers = _workers()
    loader = DataLoader(
        source,
        batch_size=None,  # a key stands for a whole batch
        sampler=keys,
        num_workers=workers,
        multiprocessing_context=_start_method() if workers else None,
        collate_fn=_as_it_is,
        pin_memory=device.type == "cuda",
        worker_init_fn=_leave_ending_to_the_parent,
        generator=torch.Generator().manual_seed(0),  # else it would draw from the run's own
    )
    with _interrupts_held_back():
        return iter(loader)


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


def _as_it_is(read: Any) -> Any:
    return read
