"""What every balancing method promises: missing labels, absent tasks, resuming, extreme inputs."""

import copy

import pytest
import torch

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.hydra.balance.gradients import GradientConfig
from hybridvit.hydra.balance.kinds import (
    AlignedMTLConfig,
    CAGradConfig,
    DWAConfig,
    FAMOConfig,
    FixedConfig,
    GradNormConfig,
    MGDAConfig,
    NashMTLConfig,
    PCGradConfig,
    SumConfig,
    UncertaintyConfig,
    UPGradConfig,
)
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.models import create_backbone
from hybridvit.tasks.classification import ClassificationConfig, ClassificationHead, ClassificationTask

CONFIG = ViTConfig(embed_dim=8, depth=2, num_heads=2, tokenizer=PatchConfig(patch_size=2))
CLASSES = {"shape": 3, "colour": 5, "size": 7}
NAMES = tuple(CLASSES)
WEIGHTS = {"shape": 0.5, "colour": 2.0, "size": 1.25}

METHODS = {
    "sum": SumConfig(),
    "fixed": FixedConfig(weights=WEIGHTS),
    "uncertainty": UncertaintyConfig(lr=0.1),
    "dwa": DWAConfig(window=1),
    "gradnorm": GradNormConfig(lr=0.1),
    "famo": FAMOConfig(lr=0.2),
    "pcgrad": PCGradConfig(),
    "mgda": MGDAConfig(),
    "cagrad": CAGradConfig(),
    "nash_mtl": NashMTLConfig(),
    "upgrad": UPGradConfig(),
    "aligned_mtl": AlignedMTLConfig(),
    "pcgrad at features": PCGradConfig(at="features"),
    "mgda at features": MGDAConfig(at="features"),
    "upgrad every 2": UPGradConfig(every=2),
    "nash_mtl every 3": NashMTLConfig(every=3),
}
every_method = pytest.mark.parametrize("method", METHODS)


class Training:
    """A net with three tasks, its balancing method and plain gradient steps."""

    def __init__(self, method, net, names=NAMES):
        config = METHODS[method]
        if isinstance(config, FixedConfig):
            config = FixedConfig(weights={name: WEIGHTS[name] for name in names})
        self.net, self.names = net, names
        self.tasks = {
            name: ClassificationTask(name, [str(i) for i in range(CLASSES[name])], ClassificationConfig())
            for name in names
        }
        self.balance = config.build(names, net=net)

    def losses(self, images, targets):
        predictions = self.net(images)
        return {name: self.tasks[name].loss(predictions[name], targets[name]) for name in self.names}

    def gradients(self, images, targets, seed=0):
        """Fills .grad and returns copies, by parameter name."""
        torch.manual_seed(seed)
        self.net.zero_grad()
        losses = self.losses(images, targets)
        present = {name: (targets[name] >= 0).any() for name in self.names}
        self.total = self.balance.backward(losses, present, self.net, torch.Tensor.backward)
        return {name: p.grad.clone() for name, p in self.net.named_parameters() if p.grad is not None}

    def step(self, images, targets, seed=0, lr=0.05):
        gradients = self.gradients(images, targets, seed)
        with torch.no_grad():
            for p in self.net.parameters():
                if p.grad is not None:
                    p -= lr * p.grad
        if self.balance.needs_second_forward:
            with torch.no_grad():
                self.balance.after_step(lambda: self.losses(images, targets))
        return gradients


@pytest.fixture
def net(randomise):
    backbone = create_backbone(CONFIG, image_size=(6, 10))
    heads = {name: ClassificationHead(backbone.spec, count) for name, count in CLASSES.items()}
    return randomise(HydraNet(backbone, heads))


def batch(seed=1, size=11):
    """Images, and targets of which some are missing, but none for every sample."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, 6, 10, generator=generator)
    targets = {name: torch.randint(0, count, (size,), generator=generator) for name, count in CLASSES.items()}
    for place, name in enumerate(NAMES):
        targets[name][place::4] = -1
    return images, targets


def without(targets, *names):
    return {name: torch.full_like(t, -1) if name in names else t for name, t in targets.items()}


def check_same(one, other, rtol=1e-4, atol=1e-6):
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


@every_method
def test_an_unlabelled_sample_changes_no_gradient(method, net):
    images, targets = batch()
    more = torch.cat([images, 3 * torch.randn(2, 3, 6, 10)])
    more_targets = {name: torch.cat([t, torch.full((2,), -1)]) for name, t in targets.items()}
    actual = Training(method, copy.deepcopy(net)).gradients(images, targets)
    assert any(bool(g.any()) for g in actual.values())
    check_same(actual, Training(method, net).gradients(more, more_targets))


@every_method
@pytest.mark.parametrize("absent", NAMES)
def test_an_absent_task_leaves_what_the_others_get_alone(method, absent, net):
    others = tuple(name for name in NAMES if name != absent)
    pair = copy.deepcopy(net)
    pair.remove_head(absent)
    all_three, two = Training(method, net), Training(method, pair, others)
    for step in range(4):
        images, targets = batch(step)
        one = all_three.step(images, without(targets, absent), step)
        gone = {name: one.pop(name) for name in list(one) if name.startswith(f"heads.{absent}.")}
        assert not any(bool(g.any()) for g in gone.values())
        check_same(one, two.step(images, {name: targets[name] for name in others}, step), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(all_three.total, two.total)
    assert absent not in all_three.balance.weights()
    assert all_three.balance.weights() == pytest.approx(two.balance.weights(), rel=1e-3)


@every_method
def test_what_is_remembered_of_an_absent_task_does_not_move(method, net):
    training = Training(method, net)
    for step in range(3):
        training.step(*batch(step), step)
    before = training.balance.state()
    images, targets = batch(3)
    training.step(images, without(targets, "colour"), 3)
    after = training.balance.state()
    # what `every` keeps is the last comparison as a whole, not a memory of one task
    whole = ("weight.", "age.") if isinstance(METHODS[method], GradientConfig) else ()
    for key in before:
        if key.endswith(".colour") and not key.startswith(whole):
            torch.testing.assert_close(after[key], before[key], rtol=0, atol=0, equal_nan=True)
    moved = [key for key in before if key.endswith(".size") and not torch.equal(after[key], before[key])]
    assert bool(moved) == bool(before), "a present task's memory moves"


@every_method
@pytest.mark.parametrize("alone", NAMES)
def test_a_task_that_is_alone_gets_its_plain_gradient(method, alone, net):
    training = Training(method, net)
    for step in range(3):
        training.step(*batch(step), step)
    images, targets = batch(3)
    actual = training.gradients(images, without(targets, *(name for name in NAMES if name != alone)))
    net.zero_grad()
    training.losses(images, targets)[alone].backward()
    factor = WEIGHTS[alone] if method == "fixed" else 1.0
    for name, p in net.named_parameters():
        plain = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(actual.get(name, torch.zeros_like(p)), factor * plain, rtol=1e-4, atol=1e-6)


@every_method
def test_without_any_label_nothing_moves(method, net):
    training = Training(method, net)
    for step in range(3):
        training.step(*batch(step), step)
    before = training.balance.state()
    images, targets = batch(3)
    actual = training.gradients(images, without(targets, *NAMES))
    assert not any(bool(g.any()) for g in actual.values())
    assert float(training.total) == 0
    after = training.balance.state()
    assert all(torch.equal(after[k].nan_to_num(-5.0), before[k].nan_to_num(-5.0)) for k in before)


@every_method
def test_training_resumes_exactly_from_a_saved_state(method, net):
    whole = Training(method, net)
    for step in range(4):
        images, targets = batch(step)
        whole.step(images, without(targets, "size") if step == 2 else targets, step)
    resumed = Training(method, copy.deepcopy(net))
    state = whole.balance.state()
    assert all(value.device.type == "cpu" and value.ndim == 0 for value in state.values())
    resumed.balance.load_state(state)
    for step in range(4, 8):
        images, targets = batch(step)
        targets = without(targets, "shape") if step == 6 else targets
        one, other = whole.step(images, targets, step), resumed.step(images, targets, step)
        assert all(torch.equal(one[name], other[name]) for name in one), f"step {step}"
        assert whole.balance.weights() == resumed.balance.weights()


def test_methods_that_learn_have_a_state():
    learning = {"uncertainty", "dwa", "gradnorm", "famo"}
    with_state = {kind for kind in METHODS if " " not in kind and METHODS[kind].build(NAMES).state()}
    assert with_state == learning


@every_method
def test_a_state_of_other_tasks_is_refused(method, net):
    balance = Training(method, net).balance
    with pytest.raises(ValueError, match=r"it has log_variance\.other|other tasks"):
        balance.load_state(balance.state() | {"log_variance.other": torch.tensor(0.0)})


@every_method
def test_zero_gradients_give_no_nan(method, net):
    training = Training(method, net)
    images, targets = batch()
    for seed, scale in enumerate(((0, 0, 0), (1, 0, 1), (1, 1, 1))):
        net.zero_grad()
        plain = training.losses(images, targets)
        losses = {name: factor * plain[name] for name, factor in zip(NAMES, scale, strict=True)}
        present = dict.fromkeys(NAMES, torch.tensor(True))
        torch.manual_seed(seed)
        training.balance.backward(losses, present, net, torch.Tensor.backward)
        if training.balance.needs_second_forward:
            training.balance.after_step(lambda kept=losses: {name: loss.detach() for name, loss in kept.items()})
        assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    assert all(weight == weight for weight in training.balance.weights().values())


@pytest.mark.parametrize("method", [method for method in METHODS if not method.startswith("pcgrad")])
def test_the_order_of_the_tasks_does_not_matter(method, net):
    backwards = Training(method, copy.deepcopy(net), NAMES[::-1])
    forwards = Training(method, net)
    for step in range(3):
        actual = forwards.step(*batch(step), step)
        check_same(actual, backwards.step(*batch(step), step), rtol=2e-3, atol=1e-5)


@every_method
def test_gradients_add_to_what_is_there(method, net):
    images, targets = batch()
    actual = Training(method, copy.deepcopy(net)).gradients(images, targets)
    training = Training(method, net)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    net.zero_grad = lambda: None
    more = training.gradients(images, targets)
    for name, p in net.named_parameters():
        torch.testing.assert_close(more[name], actual.get(name, torch.zeros_like(p)) + 1)


@every_method
def test_what_an_absent_task_says_its_loss_is_does_not_matter(method, net):
    results = []
    for absent_loss in (0.0, 5.0):
        training = Training(method, copy.deepcopy(net))
        images, targets = batch()
        losses = training.losses(images, targets)
        losses["colour"] = 0 * losses["colour"] + absent_loss
        present = dict.fromkeys(NAMES, torch.tensor(True)) | {"colour": torch.tensor(False)}
        torch.manual_seed(0)
        total = training.balance.backward(losses, present, training.net, torch.Tensor.backward)
        results.append([total, *(p.grad for p in training.net.backbone.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize("method", ["sum", "fixed"])
def test_a_sum_trains_in_several_processes(method):
    assert METHODS[method].build(NAMES, num_processes=2).tasks == NAMES


@pytest.mark.parametrize("method", [method for method in METHODS if method not in ("sum", "fixed")])
def test_other_methods_refuse_several_processes(method, net):
    with pytest.raises(ValueError, match="trains in 1 process, not in 2: choose sum or fixed"):
        METHODS[method].build(NAMES, num_processes=2, net=net)
