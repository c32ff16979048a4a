"""A trainer's whole state as a checkpoint, from which a run resumes to the bit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hybridvit.training import checkpoint
from hybridvit.training.history import History
from hybridvit.training.run_folder import RunFolder

if TYPE_CHECKING:
    from hybridvit.training.engine import Trainer

KEPT_CHECKPOINTS = 2


def save(trainer: Trainer, folder: RunFolder, done: int) -> None:
    """Writes a checkpoint of this step, and deletes all but the newest two."""
    tensors = {f"net.{k}": v for k, v in trainer.net.state_dict().items()}
    tensors |= checkpoint.optimiser_tensors(trainer.optimiser)
    tensors |= {f"balance.{k}": v for k, v in trainer.balance.state().items()}
    tensors["rng.cpu"] = torch.get_rng_state()
    if trainer.accelerator.device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    if trainer.average is not None:
        tensors |= {f"ema.{k}": v.clone() for k, v in trainer.average.module.state_dict().items()}
    state = {"step": done, "history": vars(trainer.history)}
    checkpoint.save_checkpoint(folder.checkpoints / f"step_{done:07d}", state, trainer.weights(), tensors)
    for old in checkpoint.step_folders(folder.checkpoints)[:-KEPT_CHECKPOINTS]:
        checkpoint.remove(old)


def resume(trainer: Trainer) -> int:
    """Puts a trainer where the last checkpoint of its folder left off, and gives the number of finished steps.

    Raises:
        CorruptCheckpoint: the last checkpoint does not read back whole.
    """
    folder = trainer.folder
    if folder is None:
        return 0
    saved = checkpoint.step_folders(folder.checkpoints)
    if not saved:
        folder.rewind(0)
        return 0
    source = saved[-1]
    tensors = checkpoint.read_or_offer(source, checkpoint.TRAINING, "remove the corrupt folder to resume from there")
    state = checkpoint.read_state(source)
    step = int(state["step"])

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    checkpoint.load_state(trainer.net, part("net."), source)
    if trainer.average is not None:
        checkpoint.load_state(trainer.average.module, part("ema."), source)
        trainer.average.updates = step
    checkpoint.load_optimiser(trainer.optimiser, tensors)
    trainer.balance.load_state(part("balance."))
    torch.set_rng_state(tensors["rng.cpu"])
    if "rng.cuda" in tensors and trainer.accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng.cuda"])
    trainer.history = History(**state["history"])
    if trainer.history.best is not None:
        best = folder.checkpoints / checkpoint.BEST
        weights = checkpoint.read_or_offer(best, checkpoint.WEIGHTS, "start anew in another folder")
        trainer.best_weights = {k: v.to(trainer.accelerator.device) for k, v in weights.items()}
    trainer.schedule = trainer.optim.build_schedule(trainer.optimiser, trainer.config.steps, step)
    folder.rewind(step)
    return step
