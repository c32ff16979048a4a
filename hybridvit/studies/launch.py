"""Runs the cells of a grid, in parallel through joblib, on this machine or on a cluster."""

from __future__ import annotations

import contextlib
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import joblib
from joblib.externals.loky import get_reusable_executor

from hybridvit.recipe import LaunchConfig, Recipe
from hybridvit.studies.grid import Cell


def launch(
    cells: Sequence[Cell], config: LaunchConfig, on_start: Callable[[Cell], None]
) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """Yields each cell with its result as it ends; a failed cell yields ``{"error": ..., "traceback": ...}``.

    Args:
        cells: what to run.
        config: where.
        on_start: called when a cell is handed to a worker.

    Raises:
        ValueError: ray or dask is asked for and not installed.
    """

    def calls() -> Iterator[Any]:
        for index, cell in enumerate(cells):
            on_start(cell)
            yield joblib.delayed(run_cell)(index, cell.recipe, config.threads)

    with _backend(config):
        parallel = joblib.Parallel(batch_size=1, pre_dispatch="n_jobs", return_as="generator_unordered")
        results = parallel(calls())
        try:
            for index, result in results:
                yield cells[index], result
        except BaseException:
            if config.backend == "loky":
                get_reusable_executor().shutdown(wait=False, kill_workers=True)
            raise


def run_cell(index: int, recipe: Recipe, threads: int) -> tuple[int, dict[str, Any]]:
    """One run in a worker; never raises for a fault of the run itself."""
    import torch

    from hybridvit.build import Run

    torch.set_num_threads(threads)
    try:
        return index, Run(recipe).fit()
    except Exception as error:  # reported by the caller, who goes on with the other cells
        return index, {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}


def ignore_interrupt() -> None:
    """Leaves Ctrl-C to the process that started the workers."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _backend(config: LaunchConfig) -> Iterator[None]:
    workers = config.workers if config.workers is not None else -1
    if config.backend == "ray":
        _ray(config.address)
        with joblib.parallel_config("ray", n_jobs=workers):
            yield
    elif config.backend == "dask":
        with _dask(config), joblib.parallel_config("dask", n_jobs=workers):
            yield
    elif config.backend == "loky":
        with joblib.parallel_config("loky", n_jobs=workers, initializer=ignore_interrupt):
            yield
    else:
        with joblib.parallel_config("sequential", n_jobs=1):
            yield


def _ray(address: str | None) -> None:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError as error:
        raise ValueError("launch.backend ray needs ray: pip install 'hybridvit[ray]'") from error
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    register_ray()


def _dask(config: LaunchConfig) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("launch.backend dask needs dask: pip install 'hybridvit[dask]'") from error
    if config.address is not None:
        return Client(config.address)
    return Client(n_workers=config.workers, threads_per_worker=1, dashboard_address=None)
