"""Runs the cells of a grid, in parallel through joblib, on this machine or on a cluster."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor

from hybridvit.recipe import Recipe
from hybridvit.studies.cells import Cell
from hybridvit.studies.study import LaunchConfig
from hybridvit.studies.time_limit import TimeLimit


def launch(
    cells: Sequence[Cell],
    config: LaunchConfig,
    on_start: Callable[[Cell], None],
    limit: TimeLimit,
    folders: Mapping[str, Path] | None = None,
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yields each cell with its result as it ends; a failed cell yields ``{"error": ..., "traceback": ...}``.

    A trial whose loss becomes infinite has an answer too: ``{"diverged": ..., "seconds": ...}``.

    Args:
        cells: what to run.
        config: where.
        on_start: called when a cell is handed to a worker.
        limit: cells are handed out as long as it allows.
        folders: run folders of those cells that keep one, by key.

    Raises:
        ValueError: ray or dask is asked for and not installed.
    """

    kept = folders or {}

    def calls() -> Iterator[Any]:
        for index, cell in enumerate(cells):
            if not limit.allows_another():
                return
            on_start(cell)
            yield joblib.delayed(run)(index, cell.recipe, config.threads, kept.get(cell.key))

    with _backend(config) as run:
        parallel = joblib.Parallel(batch_size=1, pre_dispatch="n_jobs", return_as="generator_unordered")
        results = parallel(calls())
        try:
            for index, result in results:
                yield cells[index], _of_trial(result) if cells[index].trial else result
        except BaseException:
            if config.backend == "loky":
                get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)
            raise


def run_cell(index: int, recipe: Recipe, threads: int, folder: Path | None = None) -> tuple[int, dict[str, Any]]:
    """One run in a worker; never raises for a fault of the run itself."""
    import torch

    from hybridvit.config import to_yaml
    from hybridvit.runs.data_cache import splits_of
    from hybridvit.runs.run import Run
    from hybridvit.training.engine import NonFiniteLoss
    from hybridvit.training.run_folder import RunFolder

    torch.set_num_threads(threads)
    began = time.perf_counter()
    try:
        kept = RunFolder(folder, to_yaml(recipe)) if folder is not None else None
        return index, Run(recipe, kept, splits=splits_of(recipe)).fit()
    except Exception as error:  # reported by the caller, who goes on with the other cells
        failure: dict[str, Any] = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
        if isinstance(error, NonFiniteLoss):
            failure |= {"diverged": str(error), "seconds": {"total": time.perf_counter() - began}}
        return index, failure


def _of_trial(result: dict[str, Any]) -> dict[str, Any]:
    """A trial's result; one that diverged has not failed."""
    return {key: result[key] for key in ("diverged", "seconds")} if "diverged" in result else result


def prepare_worker(parent: int) -> None:
    """Leaves Ctrl-C to the process that started this one, and ends with it, however that is ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


Runner = Callable[[int, Recipe, int, Path | None], tuple[int, dict[str, Any]]]


@contextlib.contextmanager
def _backend(config: LaunchConfig) -> Iterator[Runner]:
    """Sets joblib's backend, and gives the function that it should call."""
    workers = config.workers if config.workers is not None else -1
    if config.backend == "ray":
        with _ray(config) as run:
            yield run
    elif config.backend == "dask":
        with _dask(config), joblib.parallel_config("dask", n_jobs=workers):
            yield run_cell
    elif config.backend == "loky":
        with joblib.parallel_config("loky", n_jobs=workers, initializer=prepare_worker, initargs=(os.getpid(),)):
            yield run_cell
    else:
        with joblib.parallel_config("sequential", n_jobs=1):
            yield run_cell


@contextlib.contextmanager
def _ray(config: LaunchConfig) -> Iterator[Runner]:
    """One thread for each running cell, which waits for a ray task.

    Ray's own joblib backend gives results back only when all are there, and so would lose them on an interruption.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError("launch.backend ray needs ray: pip install 'hybridvit[ray]'") from error
    ours = not ray.is_initialized()
    if ours:
        cpus = config.workers * config.threads if config.workers and not config.address else None
        ray.init(address=config.address, num_cpus=cpus, log_to_driver=False, include_dashboard=False)
    task = ray.remote(num_cpus=config.threads, max_retries=0)(run_cell)
    workers = config.workers or max(int(ray.cluster_resources().get("CPU", 1)) // config.threads, 1)

    def run(index: int, recipe: Recipe, threads: int, folder: Path | None) -> tuple[int, dict[str, Any]]:
        return ray.get(task.remote(index, recipe, threads, folder))

    try:
        with joblib.parallel_config("threading", n_jobs=workers):
            yield run
    finally:
        if ours:
            ray.shutdown()


def _dask(config: LaunchConfig) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("launch.backend dask needs dask: pip install 'hybridvit[dask]'") from error
    if config.address is not None:
        return Client(config.address)
    return Client(n_workers=config.workers, threads_per_worker=1, dashboard_address=None)
