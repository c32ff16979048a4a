"""The training loop: one visible loop, from the first step to the result."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NoReturn, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from hybridvit.config import Config, OpenFraction, PositiveInt
from hybridvit.data.batch import Batch
from hybridvit.hydra.balance.base import Losses, MethodConfig, SumConfig
from hybridvit.hydra.balance.trunk_gradients import gradient_cosines
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.tasks.base import Objective, Task
from hybridvit.training import checkpoint, trainer_state
from hybridvit.training.accelerator import make_accelerator, to_channels_last
from hybridvit.training.compiled import compile_net, eager
from hybridvit.training.ema import WeightAverage
from hybridvit.training.evaluation import Scores, evaluate, mean_score
from hybridvit.training.history import CostMeter, History, LossSums, OnStep, Progress
from hybridvit.training.optimisers.kinds import OptimConfig
from hybridvit.training.run_folder import RunFolder

CONFLICT_LOOKS = 5  # measurements of gradient conflict in a run; each takes a backward pass for every task


class TrainConfig(Config):
    """How long and how a model is trained.

    Attributes:
        steps: number of updates.
        batch_size: images in an update.
        precision: "auto" is bf16 on a GPU that has it, else fp32.
        compile: compile the model before the first step (torch.compile); its seconds are counted apart.
        ema: decay of a running average of the weights, which is then what is evaluated; None: none.
        log_every: steps between two lines of metrics.
        evaluate_every: steps between two evaluations on the validation split, each with a checkpoint.
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


class Trainer:
    """Trains a HydraNet.

    Args:
        net: the model.
        tasks: what its heads answer, by name.
        config: length, batch size and precision.
        optim: optimiser and schedule.
        train: a batch for every step.
        validation: what checkpoints are selected on; empty: the last step's weights are used.
        balance: how the tasks' losses become one update of the trunk; None: their plain sum.
        accelerator: device and precision; None: as :func:`make_accelerator` gives for ``config.precision``.
        folder: where to write; None: nowhere.
        probes: name -> a reading of the model, taken at every logged step.
        auxiliary: those of the tasks that only shape the training: they are neither scored nor kept with the weights.
        sizes: sides of the images that training sees, in pixels, if they change; for compilation.
    """

    def __init__(
        self,
        net: HydraNet,
        tasks: Mapping[str, Objective],
        config: TrainConfig,
        optim: OptimConfig,
        train: BatchSource,
        validation: EvaluationSource = (),
        *,
        balance: MethodConfig | None = None,
        accelerator: Accelerator | None = None,
        folder: RunFolder | None = None,
        probes: Mapping[str, Callable[[nn.Module], Any]] | None = None,
        auxiliary: Collection[str] = (),
        sizes: Sequence[int] = (),
    ) -> None:
        self.accelerator = accelerator = accelerator or make_accelerator(config.precision)
        self.balance = (balance or SumConfig()).build(tuple(tasks), net, accelerator.num_processes)
        self.average = WeightAverage(net.to(accelerator.device), config.ema) if config.ema else None
        self.optimiser = optim.build(net)
        self.schedule = optim.build_schedule(self.optimiser, config.steps)
        self.net, self.optimiser = accelerator.prepare(net, self.optimiser)
        self.plain: HydraNet = accelerator.unwrap_model(self.net)  # without what spreads it over processes
        self.parameters = list(self.net.parameters())
        self.tasks, self.config, self.optim = tasks, config, optim
        self.train, self.validation = train, validation
        self.folder = folder
        self.probes = dict(probes or {})
        self.scored = {n: task for n, task in tasks.items() if isinstance(task, Task) and n not in auxiliary}
        self.auxiliary = tuple(f"heads.{name}." for name in auxiliary)
        self.sizes = sizes
        self.history = History()
        self.best_weights: dict[str, Tensor] | None = None

    @property
    def evaluated(self) -> nn.Module:
        """The model whose predictions count: the running average, if there is one."""
        return self.average.module if self.average is not None else self.net

    def weights(self) -> dict[str, Tensor]:
        """A copy of the weights that are evaluated, without the heads that only shape the training."""
        weights = self.evaluated.state_dict().items()
        return {k: v.detach().clone() for k, v in weights if not k.startswith(self.auxiliary)}

    def fit(self, on_step: OnStep | None = None) -> History:
        """Trains to the last step, from the last checkpoint of the folder if it has one.

        Args:
            on_step: called after every step.

        Raises:
            NonFiniteLoss: naming the step and the last good checkpoint.
            CorruptCheckpoint: the last checkpoint does not read back whole.
        """
        start = trainer_state.resume(self)
        history, config, device = self.history, self.config, self.accelerator.device
        if config.compile and start < config.steps:
            first = self.train.batch(0)
            first = first._replace(images=to_channels_last(first.images))
            history.compile_seconds += compile_net(self.net, first, self.accelerator, self.sizes)
        sums = LossSums(tuple(self.tasks), device)
        conflict_every = max(config.steps // CONFLICT_LOOKS, 1)
        loss = history.loss[-1] if history.loss else None
        validation = self._score(history.validation[-1]) if history.validation else None
        if start == 0:
            self._probe()
        meter = CostMeter(history, device)
        self.net.train()
        for step in range(start, config.steps):
            done = step + 1
            last = done == config.steps
            evaluates = done % config.evaluate_every == 0 or last
            before_update = partial(self._log_conflict, done) if done % conflict_every == 0 or last else None
            sums.add(step, *self.update(self.train.batch(step), before_update))
            if done % config.log_every == 0 or evaluates:
                self._stop_if_bad(sums)
                loss, losses = sums.read()
                meter.read()
                self._record(done, loss, losses)
                if evaluates:
                    self._stop_if_weights_are_bad(done)
                    validation = self._evaluate(done) if len(self.validation) else None
                    if self.folder is not None:
                        trainer_state.save(self, self.folder, done)
            if on_step is not None:
                on_step(Progress(done, loss, validation))
        meter.read()
        if self.best_weights is not None:
            self.evaluated.load_state_dict(self.best_weights, strict=not self.auxiliary)
        return history

    def update(
        self, batch: Batch, before_update: Callable[[Losses, Losses], None] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One update of the weights.

        Args:
            batch: what to learn from.
            before_update: called with the tasks' losses, and with whether the batch has a label for each.

        Returns:
            What was minimised, then for every task its own loss and whether the batch has a label for it, ``[t]``.
        """
        with self.accelerator.autocast():
            predictions = self.net(to_channels_last(batch.images), batch.present)
        losses, present = self._losses(predictions, batch)
        if before_update is not None and len(losses) > 1:
            before_update(losses, present)
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
        measured = gradient_cosines(losses, present, self.plain)
        cosines = [
            [[None if math.isnan(c) else round(c, 4) for c in row] for row in s] for s in measured.cosines.tolist()
        ]
        record = {"step": done, "tasks": list(measured.tasks), "stages": list(measured.stages), "cosines": cosines}
        self.history.conflicts.append(record)
        if self.folder:
            self.folder.log({"step": done, "conflict": record})

    def _stop_if_bad(self, sums: LossSums) -> None:
        bad = sums.first_bad()
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

    def _record(self, done: int, loss: float, losses: dict[str, float | None]) -> None:
        self.history.steps.append(done)
        self.history.loss.append(loss)
        lr = self.optim.lr * self.optim.lr_share(done - 1, self.config.steps)  # that of the heads, where layers differ
        record: dict[str, Any] = {"step": done, "loss": loss, "lr": lr}
        if len(self.tasks) > 1:
            for name, value in losses.items():
                self.history.losses.setdefault(name, []).append(value)
            record["losses"] = losses
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

    def _evaluate(self, done: int) -> float | None:
        """The validation score; the weights are kept where it is the best so far, of equal ones the latest."""
        history = self.history
        scores = evaluate(self.evaluated, self.scored, self.validation, self.accelerator)
        history.validation.append({"step": done, **scores})
        if self.folder:
            self.folder.log({"step": done, "validation": scores})
        if self._better(scores):
            history.best, history.best_step = scores, done
            self.best_weights = self.weights()
            if self.folder:
                state = {"step": done, "validation": scores}
                checkpoint.save_checkpoint(self.folder.checkpoints / checkpoint.BEST, state, self.best_weights)
        return self._score(scores)

    def _better(self, scores: Scores) -> bool:
        best = self.history.best
        return best is None or mean_score(scores, self.scored) >= mean_score(best, self.scored)

    def _score(self, scores: Mapping[str, Any]) -> float | None:
        """What checkpoints are selected by; None where no task has a label."""
        score = mean_score(scores, self.scored)
        return score if math.isfinite(score) else None
