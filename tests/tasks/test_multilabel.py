"""The multi-label task: loss against a loop, metrics against scikit-learn, unknown entries."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from hybridvit.backbones.features import FeatureSpec
from hybridvit.tasks.multilabel import MultilabelConfig, MultilabelTask

CLASSES = ("ant", "bee", "cat", "dog")


def task(**config):
    return MultilabelTask("t", CLASSES, MultilabelConfig(target="x", **config))


def sample(n=31):
    logits = torch.randn(n, 4) * 3
    labels = torch.randint(-1, 2, (n, 4))
    return logits, labels


def test_loss_is_the_mean_over_the_known_entries():
    logits, labels = sample()
    losses = []
    for row, answers in zip(logits.tolist(), labels.tolist(), strict=True):
        for x, y in zip(row, answers, strict=True):
            if y >= 0:
                p = 1 / (1 + math.exp(-x))
                losses.append(-math.log(p if y else 1 - p))
    assert task().loss(logits, labels).item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert len(losses) < labels.numel()


def test_an_unknown_entry_of_a_labelled_sample_has_no_gradient():
    logits, labels = sample()
    logits[labels < 0] = math.nan
    logits.requires_grad_()
    task().loss(logits, labels).backward()
    assert not logits.grad[labels < 0].any()
    assert logits.grad[labels >= 0].all()


def test_metrics_agree_with_scikit_learn_on_the_known_entries():
    logits, labels = sample()
    metric = task().metric()
    for part in (slice(0, 7), slice(7, 31)):
        task().observe(metric, logits[part], labels[part])
    known = (labels >= 0).numpy()
    expected = [
        average_precision_score(labels[:, c].numpy()[known[:, c]], logits[:, c].numpy()[known[:, c]]) for c in range(4)
    ]
    f1 = f1_score(labels.numpy()[known], (logits.sigmoid() >= 0.5).numpy()[known])
    values = metric.compute()
    assert values["map"].item() == pytest.approx(np.mean(expected))
    assert values["f1"].item() == pytest.approx(f1)


def test_average_precision_by_hand_leaves_out_classes_of_one_kind_of_label():
    # ranked by score: 1, 0, 1 -> (1/1 + 2/3) / 2; bee has no negative, cat no positive, dog no label
    logits = torch.tensor([[40.0, 1, 1, 1], [30.0, 2, 1, 1], [20.0, 3, 1, 1]])  # probabilities all round to 1
    labels = torch.tensor([[1, 1, 0, -1], [0, 1, 0, -1], [1, -1, 0, -1]])
    metric = task().metric()
    task().observe(metric, logits, labels)
    assert metric.compute()["map"].item() == pytest.approx(5 / 6)


def test_metrics_without_positives_are_undefined():
    metric = task().metric()
    task().observe(metric, torch.full((2, 4), -1.0), torch.zeros(2, 4, dtype=torch.int64))
    values = metric.compute()
    assert values["f1"].isnan()
    assert values["map"].isnan()


def test_a_model_gone_wrong_has_no_average_precision():
    logits, labels = sample()
    logits[3, 1] = math.nan
    metric = task().metric()
    task().observe(metric, logits, labels)
    assert metric.compute()["map"].isnan()


def test_decode_by_hand():
    logits = torch.tensor([[0.0, -0.1, 2.0, -2.0], [-1.0, -1, -1, -1]])
    rows = task().decode(logits)
    assert [row["classes"] for row in rows] == [["ant", "cat"], []]
    assert list(rows[0]["probabilities"]) == list(CLASSES)
    assert rows[0]["probabilities"]["cat"] == pytest.approx(1 / (1 + math.exp(-2)))


def test_settings_reach_the_head():
    head = task(pooling="seq", hidden=11).head(FeatureSpec(7, (3, 5), 2, "cls", {}))
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {
        "pool.score.weight": (1, 7),
        "pool.score.bias": (1,),
        "hidden.0.weight": (11, 7),
        "hidden.0.bias": (11,),
        "fc.weight": (4, 11),
        "fc.bias": (4,),
    }
    with pytest.raises(ValueError, match="hidden must be at least 1"):
        task(hidden=-3)
