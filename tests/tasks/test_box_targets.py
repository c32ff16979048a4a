"""Boxes on a grid, against loops over cells and boxes, and by hand."""

import math

import pytest
import torch

from hybridvit.tasks.detection import box_targets

SIZE, GRID = (28, 44), (7, 11)  # cells of 4 x 4 pixels
NONE = [-1.0, 0, 0, 0, 0]


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
