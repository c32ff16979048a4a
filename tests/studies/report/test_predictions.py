"""What heads say, beside the truth."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from hybridvit.data.loaders.device_loader import Normalisation
from hybridvit.data.samples import Column, Samples, Splits
from hybridvit.studies.report.predictions import look

H, W, N = 5, 7, 13


class Says:
    """A task that gives back what it was made with."""

    def __init__(self, target, rows, view=None):
        self.target, self.rows, self.view = target, rows, view

    def decode(self, prediction):
        assert prediction.dtype == torch.float32
        return [self.rows(int(i)) for i in prediction[:, 0]]


class Net(torch.nn.Module):
    """Predicts the number that is written in the first pixel."""

    def __init__(self, tasks):
        super().__init__()
        self.tasks = tasks

    def forward(self, images, present=None):
        first = images if present is None else images["front"]
        index = first.flatten(1)[:, :1] * 255
        return {task: index.round() for task in self.tasks}


def trained(tasks, columns, kinds, views=("image",)):
    return SimpleNamespace(
        net=Net(tasks),
        tasks=tasks,
        configs={task: SimpleNamespace(column=kind) for task, kind in kinds.items()},
        data=SimpleNamespace(
            columns=columns, normalisation=dict.fromkeys(views, Normalisation((0.0,) * 3, (1.0,) * 3))
        ),
    )


def images(views=("image",)):
    pixels = np.zeros((N, 3, H, W), np.uint8)
    pixels[:, 0, 0, 0] = np.arange(N)
    return dict.fromkeys(views, pixels)


def splits(columns, targets, views=("image",), present=None):
    whole = Samples(images(views), targets, present or {})
    return Splits("made up", columns, whole[:0], whole[:0], whole)


def shown(kind, names, rows, target, **options):
    """The answers of one task for all samples."""
    columns = {"t": Column(kind, names)}
    page = look(
        trained({"q": Says("t", rows)}, columns, {"q": kind}), splits(columns, {"t": target}), count=N, **options
    )
    return page, [sample.answers[0] for sample in page.samples]


def test_a_class_is_right_or_wrong_or_unlabelled():
    truth = np.zeros(N, np.int64)
    truth[3], truth[4] = 1, -1
    _, answers = shown("class", ("cat", "dog"), lambda i: {"class": "cat", "probability": 0.75}, truth)
    assert answers[0].said == "cat 75 %"
    assert [answer.right for answer in answers[2:5]] == [True, False, None]
    assert [answer.truth for answer in answers[2:5]] == ["cat", "dog", None]


def test_each_answer_belongs_to_its_own_sample():
    truth = np.arange(N, dtype=np.float32)[:, None] + 0.25
    page, answers = shown("numbers", ("x",), lambda i: {"x": float(i)}, truth)
    assert [(answer.said, answer.truth) for answer in answers[:2]] == [("0", "0.25"), ("1", "1.25")]
    assert len(page.samples) == N
    assert answers[12].said == "12"
    assert answers[0].right is None


def test_names_of_a_multilabel_count_only_where_they_are_known():
    truth = np.array([[1, 0, -1]] * N)
    said = ({"classes": ["a", "c"]}, {"classes": ["a"]}, {"classes": ["b"]}, {"classes": []})
    _, answers = shown("multilabel", ("a", "b", "c"), lambda i: said[min(i, 3)], truth)
    assert [answer.right for answer in answers[:4]] == [True, True, False, False]
    assert answers[0].said == "a, c"
    assert answers[3].said == "none"


def test_masks_are_coloured_and_counted_where_labelled():
    truth = np.zeros((N, H, W), np.uint8)
    truth[:, 0, :] = 1
    truth[:, :, 0] = 255
    mask = np.zeros((H, W), np.uint8)
    page, answers = shown("mask", ("background", "road"), lambda i: {"mask": mask}, truth)
    assert answers[0].said == f"{100 * 24 / 30:.0f} % of pixels right"  # 6 columns, of 5 rows one is wrong
    names = [picture.caption for picture in page.samples[0].pictures]
    assert names == ["", "q, predicted", "q, true"]
    assert [name for name, _ in page.legends["q"]] == ["road"]
    plain, predicted, true = (decoded(picture) for picture in page.samples[2].pictures)
    assert plain.shape[0] % H == 0
    assert plain.shape[0] // H == plain.shape[1] // W
    step = plain.shape[0] // H
    np.testing.assert_array_equal(plain, predicted)  # a background leaves the image as it is
    colour = tuple(int(page.legends["q"][0][1][k : k + 2], 16) for k in (1, 3, 5))
    np.testing.assert_allclose(true[0, 3 * step], np.round(0.55 * np.array(colour)), atol=1)
    assert true[2 * step, 3 * step].tolist() == [0, 0, 0]


def decoded(picture):
    data = base64.b64decode(picture.src.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def test_points_and_boxes_are_drawn_in_pixels():
    truth = np.full((N, 1, 2), 2.0, np.float32)
    truth[1] = np.nan
    page, answers = shown("points", ("tip",), lambda i: {"tip": {"x": 5.0, "y": 6.0, "confidence": 1.0}}, truth)
    marks = page.samples[0].pictures[0].marks
    assert [(mark.point, mark.truth) for mark in marks] == [((2.0, 2.0), True), ((5.0, 6.0), False)]
    assert answers[0].said == "5.0 px off"
    assert (answers[1].truth, len(page.samples[1].pictures[0].marks)) == (None, 1)
    assert page.marked

    boxes = np.full((N, 2, 5), -1.0, np.float32)
    boxes[:, 0] = [1, 0, 1, 3, 4]
    boxes[1] = np.nan
    thing = {"class": "b", "score": 0.5, "box": [0.0, 1.0, 2.0, 4.0]}
    page, answers = shown("boxes", ("a", "b"), lambda i: {"objects": [thing] if i != 2 else []}, boxes)
    marks = page.samples[0].pictures[0].marks
    assert [(mark.box, mark.truth) for mark in marks] == [((0, 1, 3, 4), True), ((0, 1, 2, 4), False)]
    assert [answer.right for answer in answers[:3]] == [True, None, False]
    assert (answers[2].said, answers[2].truth) == ("nothing", "b")


def test_cameras_stand_side_by_side_and_one_may_be_missing():
    views = ("front", "left")
    there = np.ones(N, bool)
    there[4] = False
    columns = {"t": Column("class", ("cat",)), "map": Column("mask", ("free", "car"))}
    tasks = {
        "seen": Says("t", lambda i: {"class": "cat", "probability": 1.0}, view="left"),
        "around": Says("map", lambda i: {"mask": np.eye(3, dtype=np.uint8)}),
    }
    targets = {"t": np.zeros(N, np.int64), "map": np.zeros((N, 3, 3), np.uint8)}
    page = look(
        trained(tasks, columns, {"seen": "class", "around": "mask"}, views),
        splits(columns, targets, views, {"left": there}),
        count=N,
    )
    captions = [picture.caption for picture in page.samples[0].pictures]
    assert captions == ["front", "left", "around, predicted", "around, true"]
    assert page.samples[4].pictures[1].src is None
    assert page.samples[4].answers[0].said == "no left camera"
    assert page.samples[3].answers[0].right is True
    assert [name for name, _ in page.legends["around"]] == ["car"]


@pytest.mark.parametrize("count", [4, 12, 50])
def test_the_choice_is_seeded(count):
    truth = np.arange(N, dtype=np.float32)[:, None]
    columns = {"t": Column("numbers", ("x",))}
    model = trained({"q": Says("t", lambda i: {"x": float(i)})}, columns, {"q": "numbers"})
    first, second = (look(model, splits(columns, {"t": truth}), count) for _ in range(2))
    assert first == second
    assert len(first.samples) == min(count, N)
    assert first.part == "test"
