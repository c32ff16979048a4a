"""What holds for every kind of task: missing labels, half precision, heads of any grid, metrics of nothing."""

import json
import warnings

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.tasks.classification import ClassificationConfig, ClassificationTask
from hybridvit.tasks.detection import DetectionConfig, DetectionTask
from hybridvit.tasks.distillation import DistillationConfig, DistillationTask
from hybridvit.tasks.keypoints import KeypointsConfig, KeypointsTask
from hybridvit.tasks.multilabel import MultilabelConfig, MultilabelTask
from hybridvit.tasks.regression import RegressionConfig, RegressionTask
from hybridvit.tasks.segmentation import SegmentationConfig, SegmentationTask

NAMES = ("ant", "bee", "cat")
SIZE = (28, 44)  # pixels; 7 x 11 cells of 4
NAN = float("nan")


def classification():
    return ClassificationTask("t", NAMES, ClassificationConfig(target="x", label_smoothing=0.1)), torch.tensor(
        [2, 0, 1]
    )


def multilabel():
    labels = torch.tensor([[1, 0, -1], [-1, 1, 0], [0, 1, 1]])
    return MultilabelTask("t", NAMES, MultilabelConfig(target="x")), labels


def numbers():
    labels = torch.tensor([[900.0, 0.1, 3.0], [1100.0, 0.3, NAN], [1000.0, 0.2, 5.0]])
    task = RegressionTask("t", NAMES, RegressionConfig(target="x"), (1000.0, 0.2, 4.0), (100.0, 0.1, 1.0))
    return task, labels


def angles():
    labels = torch.tensor([[170.0, NAN, 3.0], [-170.0, 90.0, 500.0], [10.0, -80.0, 5.0]])
    return RegressionTask("t", NAMES, RegressionConfig(target="x", angle="degrees")), labels


def segmentation():
    masks = torch.randint(-1, 3, (3, 7, 11)).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return SegmentationTask("t", NAMES, SegmentationConfig(target="x", width=16), SIZE), masks


def keypoints():
    points = torch.tensor(
        [[[3.0, 5.0], [40.5, 1.0], [NAN, NAN]], [[13.3, 25.0], [NAN, NAN], [22.0, 14.0]], [[30.0, 8.0]] * 3]
    )
    return KeypointsTask("t", NAMES, KeypointsConfig(target="x", width=16), SIZE), points


def detection():
    none = [-1.0, 0, 0, 0, 0]
    boxes = [
        [[2.0, 4, 4, 19, 20], [0, 22, 2, 43, 13]],
        [none, none],
        [[1.0, 8, 6, 30, 27], none],
    ]
    return DetectionTask("t", NAMES, DetectionConfig(target="x", width=16), SIZE), torch.tensor(boxes)


def hard():
    return DistillationTask("t", NAMES, DistillationConfig(teacher="run", task="t", target="x")), torch.randn(3, 3) * 3


def soft():
    config = DistillationConfig(teacher="run", task="t", mode="soft", temperature=3.0, target="x")
    return DistillationTask("t", NAMES, config), torch.randn(3, 3) * 3


KINDS = [classification, multilabel, numbers, angles, segmentation, keypoints, detection, hard, soft]
SPEC = FeatureSpec(13, (7, 11), 2, "cls", {4: 13, 2: 5, 8: 17})


def features_of(b, grid=(7, 11), spec=SPEC):
    rows, columns = grid
    maps = {s: torch.randn(b, d, -(-rows * 4 // s), -(-columns * 4 // s)) for s, d in sorted(spec.map_channels.items())}
    return Features(torch.randn(b, rows * columns, 13), torch.randn(b, 2, 13), grid, maps)


def unlabelled(target, count):
    blank = torch.full((count, *target.shape[1:]), -1, dtype=target.dtype)
    return blank if not target.is_floating_point() else blank.fill_(NAN)


def gradients(task, prediction, target):
    prediction = prediction.clone().requires_grad_()
    loss = task.loss(prediction, target)
    loss.backward()
    return loss.detach(), prediction.grad


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def case(request):
    task, target = request.param()
    return task, target, task.head(SPEC)(features_of(len(target))).detach()


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="this torch is built without CUDA")
def test_a_loss_waits_for_no_gpu(case, monkeypatch):
    """With fake tensors, which have a device and a shape but no values; see tests/test_gpu_waits.py."""
    task, target, prediction = case
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    with FakeTensorMode(allow_non_fake_inputs=True):
        given = prediction.to("cuda:0"), target.to("cuda:0")
        assert task.loss(*given).device == given[0].device
        assert task.labelled(given[1]).device == given[0].device


@pytest.mark.parametrize("extreme", [1e4, NAN])
def test_samples_without_a_label_change_no_loss_and_no_gradient(case, extreme):
    task, target, prediction = case
    alone, slope = gradients(task, prediction, target)
    assert alone > 0
    assert slope.abs().amax(dim=tuple(range(1, slope.ndim))).min() > 0
    strange = torch.full_like(prediction[:2], extreme)
    order = torch.tensor([3, 0, 1, 4, 2])
    mixed, slopes = gradients(
        task, torch.cat([prediction, strange])[order], torch.cat([target, unlabelled(target, 2)])[order]
    )
    torch.testing.assert_close(mixed, alone, rtol=1e-6, atol=0)
    torch.testing.assert_close(slopes[[1, 2, 4]], slope, rtol=1e-5, atol=1e-7)
    assert not slopes[[0, 3]].any()
    assert task.labelled(torch.cat([target, unlabelled(target, 2)])[order]).tolist() == [False, True, True, False, True]


@pytest.mark.parametrize("extreme", [1.0, 1e4, NAN])
def test_batch_without_labels_has_no_loss_and_no_gradient(case, extreme):
    task, target, prediction = case
    loss, slope = gradients(task, prediction * extreme, unlabelled(target, len(target)))
    assert loss == 0
    assert not slope.any()


def test_samples_without_a_label_leave_the_gradient_of_a_head_alone(case):
    task, target, _ = case
    head, features = task.head(SPEC), features_of(5)
    kept = Features(features.tokens[:3], features.prefix[:3], (7, 11), {s: m[:3] for s, m in features.maps.items()})
    parameters = list(head.parameters())
    mixed = torch.autograd.grad(
        task.loss(head(features), torch.cat([target, unlabelled(target, 2)])), parameters, allow_unused=True
    )
    alone = torch.autograd.grad(task.loss(head(kept), target), parameters, allow_unused=True)
    assert any(slope is not None and slope.any() for slope in alone)
    for a, b in zip(mixed, alone, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_loss_under_bf16_autocast_is_taken_in_fp32(case):
    task, target, prediction = case
    rounded = prediction.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.loss(rounded, target)
        half = task.head(SPEC)(features_of(len(target)))
        task.loss(half, target).backward()
        none = task.loss(half.detach().requires_grad_(), unlabelled(target, len(target)))
        none.backward()
    assert loss.dtype == torch.float32
    assert none == 0
    torch.testing.assert_close(loss, task.loss(rounded.float(), target))


def test_extreme_predictions_of_labelled_samples_have_finite_gradients(case):
    task, target, prediction = case
    for factor in (0.0, 1e4):
        loss, slope = gradients(task, prediction * factor, target)
        assert loss.isfinite()
        assert slope.isfinite().all()


def test_metrics_see_labelled_samples_only(case):
    task, target, prediction = case
    mixed, alone = task.metric(), task.metric()
    strange = torch.full_like(prediction[:2], NAN)
    order = torch.tensor([3, 0, 1, 4, 2])
    task.observe(mixed, torch.cat([prediction, strange])[order], torch.cat([target, unlabelled(target, 2)])[order])
    task.observe(mixed, strange, unlabelled(target, 2))
    for i in range(3):
        task.observe(alone, prediction[i : i + 1], target[i : i + 1])
    values, expected = mixed.compute(), alone.compute()
    assert set(values) == set(expected) == set(task.higher_is_better)
    for name, value in values.items():
        assert value.isfinite(), name
        torch.testing.assert_close(value, expected[name], msg=name)
    first, higher = next(iter(task.higher_is_better.items()))
    assert higher
    assert values[first] <= 1


def test_metrics_of_nothing_are_nan_and_silent(case):
    task, target, prediction = case
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        never, blank = task.metric(), task.metric()
        task.observe(blank, prediction, unlabelled(target, 3))
        for metric in (never, blank):
            values = metric.compute()
            assert set(values) == set(task.higher_is_better)
            assert all(value.isnan() for value in values.values())
        task.observe(blank, prediction, target)
        assert all(value.isfinite() for value in blank.compute().values())
    assert task.metric() is not never


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [(7, 11), (13, 5)])
def test_heads_answer_for_each_image_alone_on_any_grid(kind, grid, randomise):
    head = randomise(kind()[0].head(SPEC))  # in training mode
    features = features_of(5, grid)
    with torch.no_grad():
        together = head(features)
        assert len(together) == 5
        for i in range(5):
            one = Features(
                features.tokens[i : i + 1],
                features.prefix[i : i + 1],
                grid,
                {s: m[i : i + 1] for s, m in features.maps.items()},
            )
            torch.testing.assert_close(head(one), together[i : i + 1], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(together[0], together[1])


@pytest.mark.parametrize("kind", KINDS)
def test_heads_read_a_birds_eye_view(kind):
    task, target = kind()
    spec = FeatureSpec(13, (28, 44), 0, "mean", {1: 13})
    image = torch.randn(3, 13, 28, 44)
    features = Features(image.flatten(2).transpose(1, 2), torch.zeros(3, 0, 13), (28, 44), {1: image})
    prediction = task.head(spec)(features)
    assert task.loss(prediction, target) > 0
    if prediction.ndim == 4:
        assert prediction.shape[2:] == (28, 44)


def test_decoded_predictions_are_json_but_for_masks(case):
    task, _, prediction = case
    rows = task.decode(prediction)
    assert len(rows) == 3
    for row in rows:
        arrays = {name: value for name, value in row.items() if isinstance(value, np.ndarray)}
        assert set(arrays) <= {"mask"}
        plain = {name: value for name, value in row.items() if name not in arrays}
        assert json.loads(json.dumps(plain)) == plain


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_batch_is_learnt_by_heart(kind):
    task, target = kind()
    features = features_of(3)
    head = task.head(SPEC)
    optimiser = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        task.loss(head(features), target).backward()
        optimiser.step()
    metric = task.metric()
    with torch.no_grad():
        task.observe(metric, head(features), target)
    values = metric.compute()
    assert values[next(iter(task.higher_is_better))] > 0.9, values


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        (classification, "class"),
        (multilabel, "multilabel"),
        (numbers, "numbers"),
        (angles, "numbers"),
        (segmentation, "mask"),
        (keypoints, "points"),
        (detection, "boxes"),
        (hard, "teacher"),
    ],
)
def test_configurations_name_the_kind_of_their_column_and_their_camera(kind, column):
    task, _ = kind()
    assert type(task.config).column == column
    assert (task.name, task.target, task.view) == ("t", "x", None)
    config = type(task.config)(**{**vars(task.config), "view": "left"})
    arguments = (SIZE,) if task.image_size is not None else ()
    assert type(task)("u", NAMES, config, *arguments).view == "left"
