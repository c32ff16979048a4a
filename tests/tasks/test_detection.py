"""The detection task: loss against a loop, metrics against pycocotools, boxes out of ideal predictions."""

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.ops import generalized_box_iou_loss

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.tasks.detection import DetectionConfig, DetectionTask, box_targets, overlap

CLASSES = ("ant", "bee", "cat")
SIZE, GRID = (28, 44), (7, 11)
NONE = [-1.0, 0, 0, 0, 0]
BOXES = torch.tensor(
    [
        [[2.0, 5, 4, 19, 20], [0.0, 22, 2, 43, 13], [2.0, 30, 15, 42, 27]],
        [NONE, NONE, NONE],
        [[1.0, 8, 6, 30, 27], NONE, NONE],
    ]
)


def task(**config):
    return DetectionTask("t", CLASSES, DetectionConfig(target="x", width=8, **config), SIZE)


def ideal(target=BOXES):
    """What a perfect head would answer, [b, classes + 4, gh, gw]."""
    found = box_targets(target, GRID, SIZE, 3)
    y = (torch.arange(7)[:, None] + 0.5) * 4
    x = (torch.arange(11) + 0.5) * 4
    x1, y1, x2, y2 = found.boxes.unbind(-1)
    distances = torch.stack([x - x1, y - y1, x2 - x, y2 - y], dim=1).clamp(min=0.1) / 4
    return torch.cat([(found.heat.clamp(1e-4, 0.99)).logit(), distances], dim=1)


def giou(a, b):
    inner = [max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])]
    common = max(inner[2] - inner[0], 0) * max(inner[3] - inner[1], 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - common
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return common / union - (hull - union) / hull


def test_loss_agrees_with_a_loop_over_cells():
    prediction = torch.cat([torch.randn(3, 3, *GRID) * 2, torch.rand(3, 4, *GRID) * 3 + 0.1], dim=1)
    found = box_targets(BOXES, GRID, SIZE, 3)
    total = 0.0
    for b in range(3):
        for i in range(7):
            for j in range(11):
                for c in range(3):
                    p, y = 1 / (1 + math.exp(-prediction[b, c, i, j].item())), found.heat[b, c, i, j].item()
                    total -= (1 - p) ** 2 * math.log(p) if y == 1 else (1 - y) ** 4 * p**2 * math.log(1 - p)
                weight = found.weights[b, i, j].item()
                if weight:
                    left, up, right, down = prediction[b, 3:, i, j].tolist()
                    x, y = (j + 0.5) * 4, (i + 0.5) * 4
                    box = [x - 4 * left, y - 4 * up, x + 4 * right, y + 4 * down]
                    total += 5 * weight * (1 - giou(box, found.boxes[b, i, j].tolist()))
    assert task().loss(prediction, BOXES).item() == pytest.approx(total / 4, rel=1e-4)


def test_boxes_overlap_as_torchvision_has_it_in_value_and_gradient():
    corner, size = torch.rand(2, 97, 2) * 20, torch.rand(2, 97, 2) * 15 + 0.5
    boxes, others = torch.cat([corner, corner + size], dim=-1)
    others[:3] = boxes[:3] + torch.tensor([[0.0], [100.0], [0.0]])  # the same, far away, the same
    slopes, values = [], []
    for function in (lambda a, b: 1 - overlap(a, b), generalized_box_iou_loss):
        given = boxes.clone().requires_grad_()
        values.append(function(given, others))
        values[-1][3:].sum().backward()  # not of those that are equal, where it is not defined
        slopes.append(given.grad)
    torch.testing.assert_close(*values, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-6)


def test_a_labelled_image_without_objects_pushes_its_heat_map_down():
    prediction = torch.cat([torch.randn(1, 3, *GRID), torch.rand(1, 4, *GRID)], dim=1).requires_grad_()
    task().loss(prediction, torch.tensor([[NONE, NONE]])).backward()
    assert (prediction.grad[:, :3] > 0).all()
    assert not prediction.grad[:, 3:].any()


def test_ideal_predictions_give_the_boxes_back():
    for row, target in zip(task().decode(ideal()), BOXES.tolist(), strict=True):
        found = sorted([CLASSES.index(o["class"]), *o["box"]] for o in row["objects"])
        wanted = sorted(box for box in target if box[0] >= 0)
        assert [box[0] for box in found] == [box[0] for box in wanted]
        assert np.allclose(found, wanted, atol=1e-3)
        scores = [o["score"] for o in row["objects"]]
        assert scores == sorted(scores, reverse=True)
    assert task().loss(ideal(), BOXES) < 0.1


def test_boxes_stay_in_the_image_and_doubles_are_suppressed():
    prediction = torch.full((1, 7, *GRID), -9.0)
    prediction[:, 3:] = 30.0  # every box is the whole image
    prediction[0, 1, 1, 1], prediction[0, 1, 5, 9], prediction[0, 2, 3, 4] = 3.0, 2.0, 1.0
    objects = task().decode(prediction)[0]["objects"]
    assert [(o["class"], o["box"]) for o in objects] == [("bee", [0, 0, 44, 28]), ("cat", [0, 0, 44, 28])]
    assert objects[0]["score"] == pytest.approx(1 / (1 + math.exp(-3)))
    assert len(task(max_detections=1).decode(prediction)[0]["objects"]) == 1
    assert len(task(score_threshold=0.9).decode(prediction)[0]["objects"]) == 1


def coco_by_hand(detections, target):
    """AP and AP50 by pycocotools itself."""
    truth, found = COCO(), []
    truth.dataset = {"info": {}, "images": [{"id": i} for i in range(len(target))], "annotations": []}
    truth.dataset["categories"] = [{"id": c} for c in range(3)]
    for image, rows in enumerate(target.double().tolist()):
        for label, x1, y1, x2, y2 in rows:
            if label >= 0:
                box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0}
                numbers = {"id": len(truth.dataset["annotations"]) + 1, "image_id": image, "category_id": int(label)}
                truth.dataset["annotations"].append({**box, **numbers})
    for image, (boxes, scores, labels) in enumerate(detections):
        for (x1, y1, x2, y2), score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
            box = {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}
            found.append({**box, "image_id": image, "category_id": label})
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[:2]


def test_metrics_agree_with_pycocotools():
    noisy = ideal() + torch.randn(3, 7, *GRID) * torch.tensor([1.5] * 3 + [0.25] * 4)[:, None, None]
    noisy[:, 3:].clamp_(min=0.1)
    metric = task().metric()
    task().observe(metric, noisy[:1], BOXES[:1])
    task().observe(metric, noisy[1:], BOXES[1:])
    values = metric.compute()
    ap, ap50 = coco_by_hand(task().detections(noisy, 0.0), BOXES)
    assert 0.05 < ap < ap50
    assert values["ap"].item() == pytest.approx(ap, abs=1e-6)
    assert values["ap50"].item() == pytest.approx(ap50, abs=1e-6)


def test_ideal_predictions_have_the_best_metrics():
    metric = task().metric()
    task().observe(metric, ideal(), BOXES)
    assert {name: round(value.item(), 4) for name, value in metric.compute().items()} == {"ap": 1.0, "ap50": 1.0}


def test_images_without_objects_alone_have_no_average_precision():
    metric = task().metric()
    task().observe(metric, ideal()[1:2], BOXES[1:2])
    assert all(value.isnan() for value in metric.compute().values())


def test_missing_pycocotools_is_named(monkeypatch):
    from hybridvit.tasks import metrics

    def absent(self):
        raise ModuleNotFoundError("no pycocotools")

    monkeypatch.setattr(metrics.CocoAveragePrecision, "__init__", absent)
    with pytest.raises(ValueError, match="need pycocotools: pip install pycocotools"):
        task().metric()


def test_head_starts_with_low_scores_and_positive_distances():
    head = task().head(FeatureSpec(7, GRID, 0, "mean", {4: 5}))
    maps = {4: torch.randn(2, 5, *GRID)}
    found = head(Features(torch.zeros(2, 77, 7), torch.zeros(2, 0, 7), GRID, maps))
    assert found.shape == (2, 7, *GRID)
    assert 0.03 < found[:, :3].sigmoid().median() < 0.3
    assert (found[:, 3:] > 0).all()
    with torch.no_grad():
        head.out.bias[3:] = 1e6
    assert head(Features(torch.zeros(2, 77, 7), torch.zeros(2, 0, 7), GRID, maps)).isfinite().all()


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="score_threshold must be below 1, given 1"):
        task(score_threshold=1)
    for count, rule in ((0, "at least 1"), (101, "at most 100")):
        with pytest.raises(ValueError, match=f"max_detections must be {rule}, given {count}"):
            task(max_detections=count)


def slow(rows, classes):
    """Heat [classes, 7, 11], box and weight by cell, of one image."""
    heat = torch.zeros(classes, *GRID, dtype=torch.float64)
    bells, best = {}, {}
    for m, (label, *box) in enumerate(rows):
        if label < 0:
            continue
        x1, y1, x2, y2 = (v / 4 for v in box)
        column, row = math.floor((x1 + x2) / 2), math.floor((y1 + y2) / 2)
        sx, sy = (0.54 * (x2 - x1) + 1) / 6, (0.54 * (y2 - y1) + 1) / 6
        for i in range(7):
            for j in range(11):
                dx, dy = abs(j - column), abs(i - row)
                bell = math.exp(-(dx**2) / (2 * sx**2) - dy**2 / (2 * sy**2)) if dx <= 3 * sx and dy <= 3 * sy else 0
                heat[int(label), i, j] = max(heat[int(label), i, j], bell)
                if bell and ((x1 < j + 0.5 < x2 and y1 < i + 0.5 < y2) or bell == 1):
                    rank = (bell, -(x2 - x1) * (y2 - y1))
                    if (i, j) not in best or rank > best[i, j][0]:
                        best[i, j] = (rank, m)
                    bells[m, i, j] = bell
    weights = torch.zeros(GRID, dtype=torch.float64)
    boxes = torch.zeros(*GRID, 4, dtype=torch.float64)
    for (i, j), (_, m) in best.items():
        weights[i, j] = bells[m, i, j] / sum(bells[m, *at] for at, (_, other) in best.items() if other == m)
        boxes[i, j] = torch.tensor(rows[m][1:])
    return heat, boxes, weights


def random_rows(count, classes):
    centre = torch.rand(count, 2) * torch.tensor([44.0, 28.0])
    half = torch.rand(count, 2) * torch.tensor([20.0, 12.0]) + 0.5
    first, last = (centre - half).clamp(min=0), torch.minimum(centre + half, torch.tensor([44.0, 28.0]))
    return torch.cat([torch.randint(classes, (count, 1)).float(), first, last], dim=1)


def test_targets_agree_with_a_loop_over_cells_and_boxes():
    rows = torch.stack([random_rows(5, 3) for _ in range(8)])
    rows[2, 3:] = torch.tensor(NONE)
    rows[3, 0] = torch.tensor(NONE)
    rows[4] = torch.tensor(NONE)
    rows[5] = math.nan
    found = box_targets(rows, GRID, SIZE, 3)
    assert found.objects == 8 * 5 - 2 - 1 - 5 - 5
    for b in range(8):
        heat, boxes, weights = slow([NONE] * 5 if b == 5 else rows[b].tolist(), 3)
        torch.testing.assert_close(found.heat[b].double(), heat, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.weights[b].double(), weights, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(found.boxes[b][weights > 0].double(), boxes[weights > 0])
    assert not found.heat[4].any()
    assert not found.weights[5].any()


def test_one_box_by_hand():
    found = box_targets(torch.tensor([[[1.0, 8.0, 4.0, 20.0, 8.0]]]), GRID, SIZE, 2)  # columns 2 to 4 of row 1
    assert found.heat[0, 1, 1, 3] == 1
    assert not found.heat[0, 0].any()
    sigma = (0.54 * 3 + 1) / 6
    assert found.heat[0, 1, 1, 4].item() == pytest.approx(math.exp(-1 / (2 * sigma**2)))
    assert found.heat[0, 1, 1, 5] == 0
    assert (found.weights > 0).nonzero().tolist() == [[0, 1, 2], [0, 1, 3], [0, 1, 4]]
    assert found.weights.sum().item() == pytest.approx(1)
    assert found.boxes[0, 1, 3].tolist() == [8, 4, 20, 8]


def test_of_two_boxes_with_one_centre_the_cell_learns_the_smaller():
    rows = torch.tensor([[[0.0, 2, 2, 42, 26], [1.0, 17, 10, 27, 18]]])
    found = box_targets(rows, GRID, SIZE, 2)
    assert found.boxes[0, 3, 5].tolist() == [17, 10, 27, 18]
    assert found.weights.sum().item() == pytest.approx(2)
    assert found.heat[0, :, 3, 5].tolist() == [1, 1]


def test_boxes_without_an_area_or_beyond_the_image_do_no_harm():
    rows = torch.tensor([[[0.0, 9, 9, 9, 20], [0.0, 12, 9, 8, 20], [0.0, 40, 24, 60, 40]]])
    found = box_targets(rows, GRID, SIZE, 1)
    assert found.objects == 1
    assert found.heat[0, 0, 6, 10] == 1
    assert (found.heat == 1).sum() == 1
