"""The segmentation task: loss against a loop, metrics of a whole split against scikit-learn, masks."""

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, jaccard_score

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.tasks.segmentation import SegmentationConfig, SegmentationTask

CLASSES = ("road", "sky", "car", "tree", "bus")
SIZE = (21, 26)


def task(**config):
    return SegmentationTask("t", CLASSES, SegmentationConfig(target="x", width=8, **config), SIZE)


def bilinear(grid, size):
    """[c, gh, gw] -> [c, h, w] in float64; the outer edges of cells and pixels coincide."""
    result = np.zeros((len(grid), *size))
    for y in range(size[0]):
        for x in range(size[1]):
            v = np.clip((y + 0.5) * grid.shape[1] / size[0] - 0.5, 0, grid.shape[1] - 1)
            u = np.clip((x + 0.5) * grid.shape[2] / size[1] - 0.5, 0, grid.shape[2] - 1)
            i, j = int(v), int(u)
            below, right = min(i + 1, grid.shape[1] - 1), min(j + 1, grid.shape[2] - 1)
            upper = grid[:, i, j] * (1 - u + j) + grid[:, i, right] * (u - j)
            lower = grid[:, below, j] * (1 - u + j) + grid[:, below, right] * (u - j)
            result[:, y, x] = upper * (1 - v + i) + lower * (v - i)
    return result


def sample(b=3, classes=5):
    return torch.randn(b, classes, 5, 7) * 2, torch.randint(-1, classes, (b, *SIZE))


def test_loss_is_the_mean_over_all_labelled_pixels():
    logits, masks = sample()
    masks[0, 3:] = -1  # images differ in their number of labelled pixels
    losses = []
    for grid, mask in zip(logits.double().numpy(), masks.numpy(), strict=True):
        log_p = log_softmax(bilinear(grid, SIZE), axis=0)
        losses += [-log_p[mask[y, x], y, x] for y in range(SIZE[0]) for x in range(SIZE[1]) if mask[y, x] >= 0]
    assert task().loss(logits, masks).item() == pytest.approx(np.mean(losses), rel=1e-5)


def test_metrics_are_those_of_all_pixels_of_the_split():
    logits, masks = sample()
    masks[masks == 3] = -1
    logits[:, 3] = -100  # neither labelled nor predicted: does not count
    masks[masks == 4] = -1  # predicted only: counts as 0
    metric = task().metric()
    task().observe(metric, logits[:1], masks[:1])
    task().observe(metric, logits[1:], masks[1:])
    found = np.stack([bilinear(grid, SIZE).argmax(0) for grid in logits.double().numpy()])
    known = masks.numpy() >= 0
    truth, found = masks.numpy()[known], found[known]
    assert set(found) == {0, 1, 2, 4}
    values = metric.compute()
    expected = jaccard_score(truth, found, average="macro", labels=[0, 1, 2, 4])
    assert values["miou"].item() == pytest.approx(expected, rel=1e-5)
    assert values["pixel_accuracy"].item() == pytest.approx(accuracy_score(truth, found))


def test_perfect_masks_have_metrics_of_one():
    masks = torch.randint(0, 3, (2, 5, 7))  # two classes occur nowhere
    metric = task().metric()
    task().observe(metric, torch.nn.functional.one_hot(masks, 5).permute(0, 3, 1, 2).float(), masks)
    assert {name: value.item() for name, value in metric.compute().items()} == {"miou": 1.0, "pixel_accuracy": 1.0}


def test_decode_gives_masks_of_the_image_and_shares():
    logits, _ = sample()
    row = task().decode(logits)[1]
    assert row["mask"].dtype == np.uint8
    assert np.array_equal(row["mask"], bilinear(logits[1].double().numpy(), SIZE).argmax(0))
    assert list(row["shares"]) == list(CLASSES)
    assert row["shares"]["sky"] == pytest.approx((row["mask"] == 1).mean())
    assert sum(row["shares"].values()) == pytest.approx(1)


@pytest.mark.parametrize(("stride", "grid"), [(None, (10, 14)), (2, (20, 28)), (8, (5, 7)), (1, (40, 56))])
def test_predictions_have_the_stride_asked_for(stride, grid):
    spec = FeatureSpec(7, (5, 7), 0, "mean", {2: 3, 4: 5, 8: 7})
    maps = {s: torch.randn(2, c, 40 // s, 56 // s) for s, c in spec.map_channels.items()}
    features = Features(torch.randn(2, 35, 7), torch.zeros(2, 0, 7), (5, 7), maps)
    assert task(stride=stride).head(spec)(features).shape == (2, 5, *grid)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="width must be at least 1, given 0"):
        SegmentationConfig(target="x", width=0)
    with pytest.raises(ValueError, match="stride must be at least 1, given 0"):
        SegmentationConfig(target="x", stride=0)
    with pytest.raises(ValueError, match="this backbone gives no feature maps"):
        task().head(FeatureSpec(7, (5, 7), 0, "mean", {}))
