"""A stage before the training: another network learns from the same images first, in a folder inside the run's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from hybridvit.config import Config, to_yaml
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.training import checkpoint
from hybridvit.training.engine import TrainConfig, Trainer
from hybridvit.training.history import OnStep
from hybridvit.training.run_folder import RunFolder


def fit_stage(
    make_trainer: Callable[[RunFolder | None], Trainer],
    settings: Config,
    seed: int,
    data: DatasetInfo,
    device: torch.device,
    folder: Path | None,
    on_step: OnStep | None,
    **about: Any,
) -> dict[str, Any]:
    """Trains a network from where its folder has left it; one that is finished is only loaded.

    Nothing else changes, torch's random state included: the training that follows is the same whether the stage took
    place just now or before an interruption.

    Args:
        make_trainer: folder -> trainer of the network, called with the random numbers of ``seed``.
        settings: what the folder is for; one of other settings is refused.
        seed, data, device: of the training.
        folder: where to write, as RUN/pretraining; None: nowhere.
        on_step: called after every step.
        about: what else the result holds.

    Returns:
        ``steps``, ``seconds``, and ``history`` with its logged ``steps`` and ``loss``.
    """
    run_folder = RunFolder(folder, to_yaml(settings)) if folder is not None else None
    with own_randomness(seed, device):
        trainer = make_trainer(run_folder)
        if run_folder is not None:
            if run_folder.result is not None:
                last = checkpoint.step_folders(run_folder.checkpoints)[-1]
                tensors = checkpoint.read_or_offer(last, checkpoint.WEIGHTS, f"remove {folder} to train it anew")
                checkpoint.load_state(trainer.plain, tensors, last)
                return run_folder.result
            run_folder.start(data.to_json())
        history = trainer.fit(on_step)
    logged = {"steps": history.steps, "loss": history.loss}
    result = {"steps": trainer.config.steps, **about, "seconds": history.seconds, "history": logged}
    if run_folder is not None:
        run_folder.finish(result)
    return result


def stage_train(train: TrainConfig, steps: int, batch_size: int | None = None) -> TrainConfig:
    """The training of a stage: other than in its length and its batches, as the one that follows."""
    return TrainConfig(
        steps=steps,
        batch_size=batch_size or train.batch_size,
        precision=train.precision,
        log_every=train.log_every,
        evaluate_every=train.evaluate_every,
    )


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Random numbers from a seed of its own; afterwards torch's state is what it was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
