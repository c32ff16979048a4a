"""Losses of mixed images: against soft targets and a slow loop, with missing labels on either side of the mixture."""

import pytest
import torch
import torch.nn.functional as F

from hybridvit.tasks.classification import ClassificationConfig, ClassificationTask
from hybridvit.tasks.detection import DetectionConfig, DetectionTask
from hybridvit.tasks.distillation import DistillationConfig, DistillationTask
from hybridvit.tasks.keypoints import KeypointsConfig, KeypointsTask
from hybridvit.tasks.multilabel import MultilabelConfig, MultilabelTask
from hybridvit.tasks.regression import RegressionConfig, RegressionTask
from hybridvit.tasks.segmentation import SegmentationConfig, SegmentationTask

NAMES = ("ant", "bee", "cat")
NAN = float("nan")
PARTNER = torch.tensor([3, 0, 4, 1, 2])
SHARE = torch.tensor([0.7, 0.25, 1.0, 0.5, 0.9])


def classification(smoothing=0.0):
    return ClassificationTask("t", NAMES, ClassificationConfig(label_smoothing=smoothing))


def smooth():
    return classification(0.2), torch.tensor([2, 0, -1, 1, 1])


def multilabel():
    labels = torch.tensor([[1, 0, -1], [-1, 1, 0], [-1, -1, -1], [0, 1, 1], [1, 1, 0]])
    return MultilabelTask("t", NAMES, MultilabelConfig(target="x")), labels


def numbers():
    labels = torch.tensor([[9.0, 0.1, 3], [11.0, 0.3, NAN], [NAN, NAN, NAN], [10.0, 0.2, 5], [12.0, NAN, 4]])
    return RegressionTask("t", NAMES, RegressionConfig(target="x"), (10.0, 0.2, 4.0), (1.0, 0.1, 1.0)), labels


def angles():
    labels = torch.tensor([[170.0, 10, 3], [-170.0, 90, NAN], [NAN, NAN, NAN], [10.0, -80, 5], [60.0, NAN, 7]])
    return RegressionTask("t", NAMES, RegressionConfig(target="x", angle="degrees")), labels


@pytest.fixture(params=[smooth, multilabel, numbers, angles], ids=lambda kind: kind.__name__)
def case(request):
    """A task, five targets of which the third is missing, and predictions."""
    task, target = request.param()
    return task, target, torch.randn(5, 6 if request.param is angles else 3) * 2


def nothing(target):
    return NAN if target.is_floating_point() else -1


def gradients(loss, prediction, *arguments):
    prediction = prediction.clone().requires_grad_()
    value = loss(prediction, *arguments)
    value.backward()
    return value.detach(), prediction.grad


def test_unmixed_batches_have_the_plain_loss_bit_for_bit(case):
    task, target, prediction = case
    mix = (PARTNER, torch.ones(5))
    for found, expected in zip(
        gradients(task.mixed_loss, prediction, target, mix), gradients(task.loss, prediction, target), strict=True
    ):
        assert torch.equal(found, expected)
    everything = (PARTNER, torch.zeros(5))  # the partner's image alone
    torch.testing.assert_close(
        task.mixed_loss(prediction, target, everything), task.loss(prediction, target[PARTNER]), rtol=1e-6, atol=0
    )


def test_mixed_loss_equals_a_loop_over_samples_and_labels(case):
    task, target, prediction = case
    total = weights = 0.0
    for i in range(5):
        for label, weight in ((target[i], SHARE[i]), (target[PARTNER[i]], 1 - SHARE[i])):
            entries = label.reshape(-1)
            for k, entry in enumerate(entries):
                if entry == entry and entry != -1:
                    one = torch.full_like(entries, nothing(target))
                    one[k] = entry
                    loss = task.loss(prediction[i : i + 1], one.view(1, *target.shape[1:]))
                    total, weights = total + float(weight) * float(loss), weights + float(weight)
    assert total > 0
    assert task.mixed_loss(prediction, target, (PARTNER, SHARE)).item() == pytest.approx(total / weights, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_classes_are_learnt_as_from_mixed_one_hot_targets(smoothing):
    logits, labels = torch.randn(5, 3) * 2, torch.tensor([2, 0, 1, 1, 0])
    one_hot = F.one_hot(labels, 3).float()
    soft = SHARE[:, None] * one_hot + (1 - SHARE[:, None]) * one_hot[PARTNER]
    found = gradients(classification(smoothing).mixed_loss, logits, labels, (PARTNER, SHARE))
    expected = gradients(lambda p: F.cross_entropy(p, soft, label_smoothing=smoothing), logits)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_angles_are_learnt_as_from_mixed_directions():
    task, target = angles()
    prediction, target = torch.randn(5, 6), torch.where(target.isnan(), 33.0, target)
    radians = target.deg2rad()
    pairs = torch.stack([radians.sin(), radians.cos()], dim=-1)
    mixed = SHARE[:, None, None] * pairs + (1 - SHARE[:, None, None]) * pairs[PARTNER]

    def of_directions(prediction):
        unit = F.normalize(prediction.unflatten(1, (-1, 2)), dim=-1)
        return (1 - (unit * mixed).sum(-1)).mean()

    for found, expected in zip(
        gradients(task.mixed_loss, prediction, target, (PARTNER, SHARE)),
        gradients(of_directions, prediction),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("extreme", [1e4, NAN])
def test_mixtures_of_unlabelled_images_change_no_loss_and_no_gradient(case, extreme):
    task, target, prediction = case
    alone, slope = gradients(task.mixed_loss, prediction, target, (PARTNER, SHARE))
    blank = torch.full_like(target[:2], nothing(target))
    more = torch.cat([prediction, torch.full_like(prediction[:2], extreme)])
    mix = (torch.cat([PARTNER, torch.tensor([6, 5])]), torch.cat([SHARE, torch.tensor([0.4, 0.0])]))
    loss, slopes = gradients(task.mixed_loss, more, torch.cat([target, blank]), mix)
    torch.testing.assert_close(loss, alone, rtol=1e-6, atol=0)
    torch.testing.assert_close(slopes[:5], slope, rtol=1e-5, atol=1e-7)
    assert slope.any()
    assert not slopes[5:].any()


def test_of_a_labelled_and_an_unlabelled_image_only_the_label_counts(case):
    task, target, prediction = case
    pair, label = prediction[:2], torch.stack([target[0], torch.full_like(target[0], nothing(target))])
    swapped = torch.tensor([1, 0])
    for share in (0.3, 0.8):
        found, slope = gradients(task.mixed_loss, pair, label, (swapped, torch.tensor([share, 1.0])))
        expected, wanted = gradients(task.loss, pair[:1], label[:1])
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
        torch.testing.assert_close(slope[:1], wanted, rtol=1e-4, atol=1e-7)
        assert not slope[1].any()  # its partner's label has no share in it
    strange = torch.stack([pair[0], torch.full_like(pair[1], NAN)])
    again, slope = gradients(task.mixed_loss, strange, label, (swapped, torch.tensor([0.8, 1.0])))
    assert again.isfinite()
    assert not slope[1].any()


@pytest.mark.parametrize("extreme", [1.0, NAN])
def test_batch_without_labels_has_no_loss_and_no_gradient(case, extreme):
    task, target, prediction = case
    blank = torch.full_like(target, nothing(target))
    loss, slope = gradients(task.mixed_loss, prediction * extreme, blank, (PARTNER, SHARE))
    assert loss == 0
    assert not slope.any()


def test_mixed_loss_under_bf16_autocast_is_taken_in_fp32(case):
    task, target, prediction = case
    rounded = prediction.bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = task.mixed_loss(rounded, target, (PARTNER, SHARE))
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, task.mixed_loss(rounded.float(), target, (PARTNER, SHARE)))


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_a_teacher_that_saw_the_mixture_is_followed_as_ever(mode):
    task = DistillationTask("t", NAMES, DistillationConfig(teacher="run", task="t", mode=mode))
    prediction, target = torch.randn(5, 3), torch.randn(5, 3)
    assert task.mixable
    assert torch.equal(task.mixed_loss(prediction, target, (PARTNER, SHARE)), task.loss(prediction, target))


@pytest.mark.parametrize(
    ("kind", "config"),
    [(SegmentationTask, SegmentationConfig), (KeypointsTask, KeypointsConfig), (DetectionTask, DetectionConfig)],
)
def test_places_in_an_image_cannot_be_mixed(kind, config, case):
    task = kind("where", NAMES, config(target="x"), (28, 44))
    assert not task.mixable
    assert case[0].mixable
    with pytest.raises(ValueError, match="task 'where' cannot learn from mixed images"):
        task.mixed_loss(torch.zeros(5, 7, 7, 11), torch.zeros(5, 28, 44), (PARTNER, SHARE))
