"""The distillation task: both losses against scipy, the token its head reads, missing answers of the teacher."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.tasks.distillation import DistillationConfig, DistillationTask

CLASSES = ("ant", "bee", "cat")


def task(**config):
    return DistillationTask("t", CLASSES, DistillationConfig(teacher="run", task="label", **config))


def sample():
    student, teacher = torch.randn(5, 3) * 2, torch.randn(5, 3) * 4
    teacher[1] = float("nan")
    teacher[3, 2] = float("nan")
    return student, teacher, [0, 2, 4]


def test_hard_loss_is_the_cross_entropy_with_the_teachers_class():
    student, teacher, known = sample()
    log_p = log_softmax(student.double().numpy(), axis=1)
    expected = np.mean([-log_p[i, teacher[i].argmax()] for i in known])
    assert task().loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_loss_is_the_scaled_divergence(temperature):
    student, teacher, known = sample()
    p, q = (np.exp(log_softmax(x.double().numpy() / temperature, axis=1)) for x in (teacher, student))
    expected = np.mean([temperature**2 * entropy(p[i], q[i]) for i in known])
    loss = task(mode="soft", temperature=temperature).loss(student, teacher)
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert task(mode="soft", temperature=temperature).loss(teacher, teacher).item() == pytest.approx(0, abs=1e-6)


def test_the_head_reads_the_distillation_token_where_there_is_one(randomise):
    features = Features(torch.randn(2, 15, 7), torch.randn(2, 2, 7), (3, 5), {})
    for distilled, token in [(True, 1), (False, 0)]:
        head = randomise(task().head(FeatureSpec(7, (3, 5), 2, "cls", {}, distilled=distilled)))
        torch.testing.assert_close(head(features), features.prefix[:, token] @ head.fc.weight.T + head.fc.bias)


def test_agreement_with_the_teacher_by_hand():
    student = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]])
    teacher = torch.tensor([[9.0, 0, 0], [0, 1, 2], [float("nan")] * 3, [0, 0, 1]])
    metric = task().metric()
    task().observe(metric, student, teacher)
    assert metric.compute()["agreement"].item() == pytest.approx(2 / 3)


def test_decode_by_hand():
    row = task().decode(torch.log(torch.tensor([[0.2, 0.7, 0.1]])))[0]
    assert row == {"class": "bee", "probability": pytest.approx(0.7)}


def test_settings_that_make_no_sense_are_refused():
    assert task().target == "teacher"
    with pytest.raises(ValueError, match="mode must be hard or soft, given 'firm'"):
        task(mode="firm")
    with pytest.raises(ValueError, match="temperature has no effect on mode 'hard', given 3"):
        task(temperature=3.0)
    for value, rule in ((0.0, "above 0"), (float("nan"), "a finite number")):
        with pytest.raises(ValueError, match=f"temperature must be {rule}, given {value}"):
            task(mode="soft", temperature=value)
