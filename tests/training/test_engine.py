"""The training loop on one linear layer, against a loop of a few lines, and what it does when training fails."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hybridvit.config import to_yaml
from hybridvit.data.batch import Batch
from hybridvit.runs.run import Run
from hybridvit.tasks.base import Task
from hybridvit.tasks.classification import ClassificationConfig, ClassificationTask
from hybridvit.training import checkpoint
from hybridvit.training.accelerator import make_accelerator
from hybridvit.training.engine import NonFiniteLoss, TrainConfig, Trainer
from hybridvit.training.evaluation import evaluate
from hybridvit.training.optimisers.kinds import AdamWConfig
from hybridvit.training.run_folder import RunFolder


def assert_equal(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), f"{key} differs"


class Net(nn.Module):
    """Images ``[b, 1, 1, 2]`` -> logits of three classes, under the name "t"."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 3)

    def forward(self, images, present=None):
        return {"t": self.fc(images.flatten(1))}


class Source:
    """The same two labelled images at every step."""

    def batch(self, step):
        return Batch(torch.tensor([[[[1.0, 2.0]]], [[[3.0, -1.0]]]]), {"label": torch.tensor([0, 2])})


class Scripted(ClassificationTask):
    """A task whose metric is read from a list."""

    def __init__(self, scores=()):
        super().__init__("t", ("a", "b", "c"), ClassificationConfig())
        self.scores = iter(scores)
        self.higher_is_better = {"score": True}

    def metric(self):
        score = next(self.scores)

        class Metric:
            def to(self, device):
                return self

            def update(self, prediction, target):
                assert prediction.shape == (2, 3)

            def compute(self):
                return {"score": torch.tensor(score)}

        return Metric()

    def observe(self, metric, prediction, target):
        metric.update(prediction, target)


class Trunk(nn.Module):
    """A trunk of one layer, as the log of gradient conflicts wants it."""

    def __init__(self, fc):
        super().__init__()
        self.fc = fc

    def parameter_layers(self):
        return [("fc",)]


def trainer(task=None, steps=4, validation=(), optim=AdamWConfig(), folder=None, **train):  # noqa: B008
    config = TrainConfig(steps=steps, batch_size=2, precision="fp32", **{"log_every": 1, "evaluate_every": 1, **train})
    task = task or Scripted()
    accelerator = make_accelerator("fp32", cpu=True)
    return Trainer(Net(), {"t": task}, config, optim, Source(), validation, accelerator=accelerator, folder=folder)


@pytest.mark.parametrize(
    ("scores", "best"),
    [
        ([0.1, 0.4, 0.3, 0.2], 2),
        ([0.5, 0.4, 0.5, 0.4], 3),  # of equals the later one
        ([0.1, 0.2, 0.3, 0.4], 4),
        ([-7.0, -0.2, math.nan, -3.0], 2),
    ],
)
@pytest.mark.parametrize("ema", [None, 0.5])
def test_the_best_validation_checkpoint_is_what_is_used(tmp_path, scores, best, ema):
    folder = RunFolder(tmp_path, "")
    folder.start({})
    loop, seen = trainer(Scripted(scores), validation=[Source().batch(0)], folder=folder, ema=ema), {}

    def on_step(progress):
        seen[progress.step] = {key: value.clone() for key, value in loop.evaluated.state_dict().items()}

    history = loop.fit(on_step)
    assert history.best_step == best
    assert history.best == {"t": {"score": pytest.approx(scores[best - 1])}}
    assert_equal(dict(loop.evaluated.state_dict()), seen[best])
    assert not torch.equal(seen[1]["fc.weight"], seen[2]["fc.weight"])
    assert_equal(checkpoint.read_tensors(tmp_path / "checkpoints/best"), seen[best])
    assert checkpoint.read_state(tmp_path / "checkpoints/best")["step"] == best


def test_without_validation_the_last_weights_are_used():
    loop, seen = trainer(), []
    history = loop.fit(lambda _: seen.append(loop.net.fc.weight.detach().clone()))
    assert torch.equal(loop.evaluated.fc.weight, seen[-1])
    assert (history.best, history.best_step) == (None, -1)
    assert history.steps == [1, 2, 3, 4]


def test_the_loop_equals_adamw_by_hand():
    """Two samples, no clipping: the same weights as a loop of six lines."""
    optim = AdamWConfig(lr=0.05, weight_decay=0.1, clip_norm=None)
    torch.manual_seed(3)
    loop = trainer(optim=optim, steps=5)
    torch.manual_seed(3)
    net = Net()
    plain = torch.optim.AdamW(
        [{"params": [net.fc.weight]}, {"params": [net.fc.bias], "weight_decay": 0.0}], weight_decay=0.1
    )
    losses = []
    for step in range(5):
        for group in plain.param_groups:
            group["lr"] = 0.05 * optim.lr_share(step, 5)
        batch = Source().batch(step)
        loss = nn.functional.cross_entropy(net(batch.images)["t"], batch.targets["label"])
        plain.zero_grad()
        loss.backward()
        plain.step()
        losses.append(loss.item())
    history = loop.fit()
    assert history.loss == pytest.approx(losses, rel=1e-5)
    torch.testing.assert_close(loop.net.fc.weight, net.fc.weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(loop.net.fc.bias, net.fc.bias, rtol=1e-5, atol=1e-6)


def test_logged_loss_is_the_mean_since_the_last_line():
    torch.manual_seed(3)
    every = trainer(steps=5).fit().loss
    torch.manual_seed(3)
    history = trainer(steps=5, log_every=2, evaluate_every=100).fit()
    assert history.steps == [2, 4, 5]
    assert history.loss == pytest.approx([sum(every[:2]) / 2, sum(every[2:4]) / 2, every[4]])


@pytest.mark.parametrize("clip", [0.01, None])
def test_gradients_are_clipped_to_the_norm(clip):
    loop, norms = trainer(optim=AdamWConfig(clip_norm=clip)), []

    def before_step(*_):
        norms.append(torch.stack([p.grad.norm() for p in loop.net.parameters()]).norm().item())

    loop.optimiser.optimizer.register_step_pre_hook(before_step)
    loop.fit()
    assert len(norms) == 4
    if clip:
        assert norms == pytest.approx([clip] * 4, rel=1e-3)
    else:
        assert min(norms) > 0.1


def test_probes_are_read_at_the_start_and_at_every_logged_step():
    loop = trainer()
    loop.probes["size"] = lambda net: net.fc.weight.double().norm().item()
    before = loop.net.fc.weight.double().norm().item()
    sizes = loop.fit().probes["size"]
    assert len(sizes) == 5
    assert sizes[0] == before
    assert len(set(sizes)) == 5


@pytest.mark.parametrize("log_every", [1, 2, 100])
@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_its_step_and_the_last_good_checkpoint(
    tiny_recipe, tmp_path, poison, log_every
):
    recipe = tiny_recipe(log_every=log_every)
    run = Run(recipe, RunFolder(tmp_path, to_yaml(recipe)), cpu=True)

    def on_step(progress):
        if progress.step == 5:
            run.net.heads["label"].fc.bias.data[3] = poison

    message = r"not a finite number at step 6; the last good checkpoint is .*step_0000004; try a lower optim.lr"
    with pytest.raises(NonFiniteLoss, match=message):
        run.fit(on_step)
    assert [path.name for path in checkpoint.step_folders(tmp_path / "checkpoints")] == ["step_0000004"]
    assert not (tmp_path / "result.json").exists()


def test_a_loss_that_is_not_finite_before_the_first_checkpoint(tiny_recipe):
    run = Run(tiny_recipe(log_every=1), cpu=True)
    with torch.no_grad():
        run.net.heads["label"].fc.bias[3] = math.nan
    with pytest.raises(NonFiniteLoss, match="at step 1; there is no checkpoint from before"):
        run.fit()


class RootTask(Scripted):
    """A finite loss whose gradient is not: √0 at the third step."""

    calls = 0

    def loss(self, prediction, target):
        self.calls += 1
        zero = (prediction - prediction.detach()).sum()
        return super().loss(prediction, target) + (zero.sqrt() if self.calls == 3 else zero)


def test_a_checkpoint_called_good_holds_finite_weights(tmp_path):
    folder = RunFolder(tmp_path, "")
    folder.start({})
    with pytest.raises(NonFiniteLoss) as caught:
        trainer(RootTask(), folder=folder).fit()
    saved = [path for path in checkpoint.step_folders(tmp_path / "checkpoints") if str(path) in str(caught.value)]
    assert len(saved) == 1
    assert all(value.isfinite().all() for value in checkpoint.read_tensors(saved[0]).values())


def test_evaluate_counts_labelled_samples_and_leaves_the_model_as_it_was():
    net = Net()
    with torch.no_grad():
        net.fc.weight.zero_()
        net.fc.bias.copy_(torch.tensor([0.0, 1.0, 0.5]))  # always the second class
    net.train()
    task = ClassificationTask("t", ("a", "b", "c"), ClassificationConfig())
    labels = torch.tensor([[1, 1, 0, -1], [1, -1, -1, 2]])
    batches = [Batch(torch.randn(4, 1, 1, 2), {"label": part}) for part in labels]
    modes = []
    net.fc.register_forward_hook(lambda module, *_: modes.append((module.training, torch.is_grad_enabled())))
    scores = evaluate(net, {"t": task}, batches, make_accelerator("fp32", cpu=True))
    assert scores == {"t": {"accuracy": pytest.approx(3 / 5)}}
    assert modes == [(False, False)] * 2
    assert net.training


def test_several_tasks_add_their_losses():
    class Two(Net):
        def forward(self, images, present=None):
            out = super().forward(images)["t"]
            return {"t": out, "u": out * 2}

        @property
        def backbone(self):
            return Trunk(self.fc)

    first, second = Scripted(), Scripted()
    tasks: dict[str, Task] = {"t": first, "u": second}
    config = TrainConfig(steps=1, batch_size=2, precision="fp32", log_every=1)
    net = Two()
    batch = Source().batch(0)
    logits = net(batch.images)
    expected = sum(nn.functional.cross_entropy(logits[name], batch.targets["label"]) for name in tasks)
    loop = Trainer(net, tasks, config, AdamWConfig(), Source(), accelerator=make_accelerator("fp32", cpu=True))
    history = loop.fit()
    assert history.loss == pytest.approx([expected.item()])
    each = [nn.functional.cross_entropy(logits[name], batch.targets["label"]).item() for name in tasks]
    assert [history.losses["t"], history.losses["u"]] == [[pytest.approx(loss)] for loss in each]
    (conflict,) = history.conflicts
    assert (conflict["step"], conflict["tasks"]) == (1, ["t", "u"])
    assert np.shape(conflict["cosines"]) == (1, 2, 2)


def test_precisions_may_differ_between_runs_of_one_process(tiny_recipe):
    recipe = tiny_recipe(steps=2, precision="fp32")
    recipe = replace(recipe, model=replace(recipe.model, dropout=0.0, drop_path=0.0))
    fp32 = Run(recipe, cpu=True)
    assert fp32.accelerator.mixed_precision == "no"
    bf16 = Run(replace(recipe, train=replace(recipe.train, precision="bf16")), cpu=True)
    assert bf16.accelerator.mixed_precision == "bf16"
    seen = []
    bf16.net.heads["label"].fc.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    a, b = fp32.fit(), bf16.fit()
    assert set(seen) == {torch.bfloat16}
    assert a["history"]["loss"] == pytest.approx(b["history"]["loss"], rel=0.02)
    assert a["history"]["loss"] != b["history"]["loss"]
    assert all(p.dtype == torch.float32 for p in bf16.net.parameters())
    assert make_accelerator("auto", cpu=True).mixed_precision == "no"


def test_runs_of_one_process_may_be_on_different_devices(monkeypatch):
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "meta")  # stands for a GPU
    assert make_accelerator("fp32").device.type == "meta"
    monkeypatch.delenv("ACCELERATE_TORCH_DEVICE")
    assert make_accelerator("fp32", cpu=True).device.type == "cpu"


@pytest.mark.parametrize("name", ["steps", "batch_size", "log_every", "evaluate_every"])
def test_counts_below_one_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, given 0"):
        TrainConfig(**{name: 0})


@pytest.mark.parametrize(("decay", "rule"), [(0.0, "above 0"), (1.0, "below 1"), (-0.5, "above 0")])
def test_a_decay_outside_its_range_is_refused(decay, rule):
    with pytest.raises(ValueError, match=f"ema must be {rule}, given {decay}"):
        TrainConfig(ema=decay)


def test_a_precision_that_would_train_in_another_is_refused():
    with pytest.raises(ValueError, match="precision must be auto, fp32 or bf16, given 'fp16'"):
        TrainConfig(precision="fp16")
