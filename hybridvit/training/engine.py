"""The training loop: one visible loop, from the first step to the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn, Protocol

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from hybridvit.config import Config, OpenFraction, PositiveInt
from hybridvit.data.batch import Batch
from hybridvit.hydra.balance.base import Balance, Losses
from hybridvit.hydra.balance.conflict import gradient_cosines
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.tasks.base import Task
from hybridvit.training import checkpoint
from hybridvit.training.compiled import compile_net, eager
from hybridvit.training.cost import CostMeter
from hybridvit.training.ema import WeightAverage
from hybridvit.training.evaluation import evaluate, mean_score
from hybridvit.training.history import History
from hybridvit.training.memory_format import to_channels_last
from hybridvit.training.optimisers.kinds import OptimConfig
from hybridvit.training.run_folder import RunFolder

KEPT_CHECKPOINTS = 2
CONFLICT_LOOKS = 5  # at the tasks' gradients in a run; each takes a backward pass for every task


class TrainConfig(Config):
    """How long and how a model is trained.

    Attributes:
        steps: number of updates.
        batch_size: images in an update.
        compile: compile the model before the first step (torch.compile); its seconds are counted apart.
        precision: "auto" is bf16 on a GPU that has it, else fp32; "bf16" and "fp32" as said.
        ema: decay of a running average of the weights, which is then what is evaluated; None: none.
        log_every: steps between two lines of metrics.
        evaluate_every: steps between two looks at the validation split, each with a checkpoint.
    """

    steps: PositiveInt = 1000
    batch_size: PositiveInt = 128
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    ema: OpenFraction | None = None
    log_every: PositiveInt = 25
    evaluate_every: PositiveInt = 100


class BatchSource(Protocol):
    """Training data: a batch for every step."""

    def batch(self, step: int) -> Batch: ...


class EvaluationSource(Protocol):
    """A split to evaluate on; may be empty."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Any: ...


class NonFiniteLoss(RuntimeError):
    """Training met a loss that is not a finite number."""


def make_accelerator(precision: Literal["auto", "fp32", "bf16"], cpu: bool = False) -> Accelerator:
    """The device and precision to train with: a GPU where there is one, unless ``cpu``."""
    AcceleratorState._reset_state(reset_partial_state=True)  # runs of one process may differ in precision and device
    torch.backends.cudnn.benchmark = True  # sizes stay, so a GPU's search for the fastest convolution pays
    if precision == "auto":
        precision = "bf16" if not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no", cpu=cpu)


class Trainer:
    """Trains a HydraNet; made by ``build``.

    Args:
        net: the model.
        tasks: what its heads answer, by name.
        balance: how their losses become one update of the trunk.
        train: a batch for every step.
        validation: what checkpoints are selected on; empty: the last step's weights are used.
        config: length, batch size and precision.
        optim: optimiser and schedule.
        accelerator: device and precision.
        folder: where to write; None: nowhere.
        probes: name -> a reading of the model, taken at every logged step.
        auxiliary: those of the tasks that only shape the training: they are neither scored nor kept with the weights.
        sizes: sides of the images that training sees, in pixels, if they change; for compilation.
    """

    def __init__(
        self,
        net: HydraNet,
        tasks: Mapping[str, Task],
        balance: Balance,
        train: BatchSource,
        validation: EvaluationSource,
        config: TrainConfig,
        optim: OptimConfig,
        accelerator: Accelerator,
        folder: RunFolder | None = None,
        probes: Mapping[str, Callable[[nn.Module], Any]] | None = None,
        auxiliary: Collection[str] = (),
        sizes: Sequence[int] = (),
    ) -> None:
        self.accelerator = accelerator
        self.average = WeightAverage(net.to(accelerator.device), config.ema) if config.ema else None
        self.optimiser = optim.build(net)
        self.schedule = optim.build_schedule(self.optimiser, config.steps)
        self.net, self.optimiser = accelerator.prepare(net, self.optimiser)
        self.plain: HydraNet = accelerator.unwrap_model(self.net)  # without what spreads it over processes
        self.parameters = list(self.net.parameters())
        self.tasks = tasks
        self.balance = balance
        self.train = train
        self.validation = validation
        self.config = config
        self.optim = optim
        self.folder = folder
        self.probes = dict(probes or {})
        self.scored = {name: task for name, task in tasks.items() if name not in auxiliary}
        self.auxiliary = tuple(f"heads.{name}." for name in auxiliary)
        self.sizes = sizes
        self.history = History()
        self.best_weights: dict[str, Tensor] | None = None

    @property
    def evaluated(self) -> nn.Module:
        """The model whose predictions count: the running average, if there is one."""
        return self.average.module if self.average is not None else self.net

    def fit(self, on_step: Callable[[int, float], None] | None = None) -> History:
        """Trains to the last step, from the last checkpoint of the folder if it has one.

        Args:
            on_step: called with the number of finished steps and the latest logged loss.

        Raises:
            NonFiniteLoss: naming the step and the last good checkpoint.
            CorruptCheckpoint: the last checkpoint does not read back whole.
        """
        start = self._resume()
        if self.config.compile and start < self.config.steps:
            first = self.train.batch(0)
            first = first._replace(images=to_channels_last(first.images))
            self.history.compile_seconds += compile_net(self.net, first, self.accelerator, self.sizes)
        device, config = self.accelerator.device, self.config
        loss_sum = torch.zeros((), device=device)
        own_sum, own_count = torch.zeros(2, len(self.tasks), device=device)
        first_bad = torch.full((len(self.tasks),), -1, device=device)
        look_every = max(config.steps // CONFLICT_LOOKS, 1)
        since, loss_value = start, float("nan")
        if start == 0:
            self._probe()
        meter = CostMeter(self.history, device)
        self.net.train()
        for step in range(start, config.steps):
            done = step + 1
            last = done == config.steps
            batch = self.train.batch(step)
            look = partial(self._log_conflict, done) if done % look_every == 0 or last else None
            lr = self.optim.lr * self.optim.lr_share(step, config.steps)  # that of the heads, where parts differ
            loss, own, present = self.update(batch, look)
            loss_sum += loss
            own_sum += own  # 0 where nothing is labelled
            own_count += present
            first_bad = torch.where((first_bad < 0) & ~torch.isfinite(own), step, first_bad)
            if done % config.log_every == 0 or done % config.evaluate_every == 0 or last:
                self._stop_if_bad(first_bad.tolist())
                loss_value = float(loss_sum) / (done - since)
                since = done
                meter.read()
                self._record(done, loss_value, own_sum.tolist(), own_count.tolist(), lr)
                for total in (loss_sum, own_sum, own_count):
                    total.zero_()
                if done % config.evaluate_every == 0 or last:
                    self._stop_if_weights_are_bad(done)
                    self._evaluate_and_save(done)
            if on_step is not None:
                on_step(done, loss_value)
        meter.read()
        if self.best_weights is not None:
            self.evaluated.load_state_dict(self.best_weights, strict=not self.auxiliary)
        return self.history

    def update(
        self, batch: Batch, look: Callable[[Losses, Losses], None] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One update of the weights.

        Args:
            batch: what to learn from.
            look: called with the tasks' losses, and with whether the batch has a label for them, before the update.

        Returns:
            What was minimised, then for every task its own loss and whether the batch has a label for it, ``[t]``.
        """
        with self.accelerator.autocast():
            predictions = self.net(to_channels_last(batch.images), batch.present)
        losses, present = self._losses(predictions, batch)
        if look is not None and len(losses) > 1:
            look(losses, present)
        loss = self.balance.backward(losses, present, self.plain, self.accelerator.backward)
        if self.optim.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.parameters, self.optim.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.plain)
        if self.balance.needs_second_forward:
            self.balance.after_step(partial(self._second_forward, batch))
        return loss, torch.stack(list(losses.values())).detach(), torch.stack(list(present.values()))

    def _losses(self, predictions: dict[str, Tensor], batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Each task's loss, and whether the batch has any label for it."""
        losses, present = {}, {}
        for name, task in self.tasks.items():
            target = batch.target(task.target, task.view)
            given = predictions[name], target
            losses[name] = task.loss(*given) if batch.mix is None else task.mixed_loss(*given, batch.mix)
            present[name] = task.labelled(target).any()
        return losses, present

    def _second_forward(self, batch: Batch) -> dict[str, Tensor]:
        """Each task's loss on the same batch, after the update."""
        with torch.no_grad(), self.accelerator.autocast(), self.plain.frozen_batch_norm(), eager(self.net):
            return self._losses(self.plain(batch.images, batch.present), batch)[0]

    def _log_conflict(self, done: int, losses: Losses, present: Losses) -> None:
        found = gradient_cosines(losses, present, self.plain)
        cosines = [[[None if math.isnan(c) else round(c, 4) for c in row] for row in s] for s in found.cosines.tolist()]
        record = {"step": done, "tasks": list(found.tasks), "stages": list(found.stages), "cosines": cosines}
        self.history.conflicts.append(record)
        if self.folder:
            self.folder.log({"step": done, "conflict": record})

    def _stop_if_bad(self, first_bad: list[int]) -> None:
        bad = {name: step for name, step in zip(self.tasks, first_bad, strict=True) if step >= 0}
        if bad:
            step = min(bad.values())
            named = [repr(name) for name, at in bad.items() if at == step] if len(self.tasks) > 1 else []
            whose = f" of {' and '.join(named)}" if named else ""
            self._stop(f"the loss{whose} is not a finite number at step {step + 1}")

    def _stop_if_weights_are_bad(self, done: int) -> None:
        if not all(bool(p.isfinite().all()) for p in self.net.parameters()):
            self._stop(f"the weights are not finite numbers after step {done}")

    def _stop(self, what: str) -> NoReturn:
        saved = checkpoint.step_folders(self.folder.checkpoints) if self.folder else []
        last_good = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint from before"
        raise NonFiniteLoss(f"{what}; {last_good}; try a lower optim.lr")

    def _record(self, done: int, loss: float, own_sum: list[float], own_count: list[float], lr: float) -> None:
        self.history.steps.append(done)
        self.history.loss.append(loss)
        record: dict[str, Any] = {"step": done, "loss": loss, "lr": lr}
        if len(self.tasks) > 1:
            own = {n: s / c if c else None for n, s, c in zip(self.tasks, own_sum, own_count, strict=True)}
            for name, value in own.items():
                self.history.losses.setdefault(name, []).append(value)
            record["losses"] = own
            if weights := self.balance.weights():
                record["weights"] = weights
        record |= self._probe()
        if self.folder:
            self.folder.log({**record, "seconds": self.history.seconds})

    def _probe(self) -> dict[str, Any]:
        readings = {name: probe(self.evaluated) for name, probe in self.probes.items()}
        for name, reading in readings.items():
            self.history.probes.setdefault(name, []).append(reading)
        return readings

    def _evaluate_and_save(self, done: int) -> None:
        if len(self.validation):
            scores = evaluate(self.evaluated, self.scored, self.validation, self.accelerator)
            self.history.validation.append({"step": done, **scores})
            if self.folder:
                self.folder.log({"step": done, "validation": scores})
            if self._better(scores):
                self.history.best, self.history.best_step = scores, done
                self.best_weights = self._weights()
                if self.folder:
                    state = {"step": done, "validation": scores}
                    checkpoint.save_checkpoint(self.folder.checkpoints / checkpoint.BEST, state, self.best_weights)
        if self.folder:
            self._save(self.folder, done)

    def _better(self, scores: dict[str, dict[str, float]]) -> bool:
        if self.history.best is None:
            return True
        return mean_score(scores, self.scored) >= mean_score(self.history.best, self.scored)

    def _weights(self) -> dict[str, Tensor]:
        """What is evaluated, without the heads that only shape the training."""
        weights = self.evaluated.state_dict().items()
        return {k: v.detach().clone() for k, v in weights if not k.startswith(self.auxiliary)}

    def _save(self, folder: RunFolder, done: int) -> None:
        tensors = {f"net.{k}": v for k, v in self.net.state_dict().items()}
        tensors |= checkpoint.optimiser_tensors(self.optimiser)
        tensors |= {f"balance.{k}": v for k, v in self.balance.state().items()}
        tensors["rng.cpu"] = torch.get_rng_state()
        if self.accelerator.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state()
        if self.average is not None:
            tensors |= {f"ema.{k}": v.clone() for k, v in self.average.module.state_dict().items()}
        state = {"step": done, "history": vars(self.history)}
        checkpoint.save_checkpoint(folder.checkpoints / f"step_{done:07d}", state, self._weights(), tensors)
        for old in checkpoint.step_folders(folder.checkpoints)[:-KEPT_CHECKPOINTS]:
            checkpoint.remove(old)

    def _resume(self) -> int:
        saved = checkpoint.step_folders(self.folder.checkpoints) if self.folder else []
        if not saved or self.folder is None:
            if self.folder is not None:
                self.folder.rewind(0)
            return 0
        tensors = read_or_offer(saved[-1], checkpoint.TRAINING, "remove the corrupt folder to go on from there")
        state = checkpoint.read_state(saved[-1])

        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        checkpoint.load_state(self.net, part("net."), saved[-1])
        if self.average is not None:
            checkpoint.load_state(self.average.module, part("ema."), saved[-1])
            self.average.updates = int(state["step"])
        checkpoint.load_optimiser(self.optimiser, tensors)
        self.balance.load_state(part("balance."))
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and self.accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"])
        self.history = History(**state["history"])
        if self.history.best is not None:
            best = read_or_offer(self.folder.checkpoints / checkpoint.BEST, checkpoint.WEIGHTS, "start anew elsewhere")
            self.best_weights = {k: v.to(self.accelerator.device) for k, v in best.items()}
        step = int(state["step"])
        self.schedule = self.optim.build_schedule(self.optimiser, self.config.steps, step)
        self.folder.rewind(step)
        return step


def read_or_offer(folder: Path, name: str, advice: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint; where it is corrupt, the error names the newest whole one beside it.

    Raises:
        CorruptCheckpoint: with the name of another checkpoint, and the advice.
    """
    try:
        return checkpoint.read_tensors(folder, name)
    except checkpoint.CorruptCheckpoint as error:
        whole = checkpoint.others(folder)
        offer = f"{whole[0].name} is whole: {advice}" if whole else "no other checkpoint is whole"
        raise checkpoint.CorruptCheckpoint(f"{error}; {offer}") from error
