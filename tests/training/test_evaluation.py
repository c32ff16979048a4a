"""Evaluation with mirror images: averaged logits, for the tasks where they mean something."""

import pytest
import torch
from torch import nn

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.data.batch import Batch
from hybridvit.hydra.hydranet import HydraNet
from hybridvit.models import create_backbone
from hybridvit.tasks.classification import ClassificationConfig, ClassificationTask
from hybridvit.tasks.multilabel import MultilabelConfig, MultilabelTask
from hybridvit.tasks.regression import RegressionConfig, RegressionTask
from hybridvit.tasks.segmentation import SegmentationConfig, SegmentationTask
from hybridvit.training.accelerator import make_accelerator
from hybridvit.training.evaluation import evaluate, evaluate_with_tta

CLASSES = ("ant", "bee", "cat", "dog", "elk")
KINDS = {
    "label": ClassificationTask("label", CLASSES, ClassificationConfig(target="label")),
    "tags": MultilabelTask("tags", ("red", "big", "old"), MultilabelConfig(target="tags")),
    "number": RegressionTask("number", ("x",), RegressionConfig(target="number")),
    "mask": SegmentationTask("mask", ("sky", "sea"), SegmentationConfig(target="mask"), (8, 8)),
}
CPU = make_accelerator("fp32", cpu=True)


@pytest.fixture
def net(randomise):
    config = ViTConfig(embed_dim=8, depth=1, num_heads=2, pooling="mean", tokenizer=PatchConfig(patch_size=2))
    backbone = create_backbone(config, 8)
    return HydraNet(backbone, {name: randomise(task.head(backbone.spec), 1.0) for name, task in KINDS.items()})


def batches(sizes=(37, 11)):
    made = []
    for size in sizes:
        label, tags = torch.randint(-1, 5, (size,)), torch.randint(-1, 2, (size, 3))
        mask, number = torch.randint(-1, 2, (size, 8, 8)), torch.randn(size, 1)
        targets = {"label": label, "tags": tags, "number": number, "mask": mask}
        made.append(Batch(torch.randn(size, 3, 8, 8), targets))
    return made


def scored(net, tasks, source, flips=False):
    given = (net, tasks, source, CPU)
    plain = evaluate(*given)
    if not flips:
        return plain
    again, flipped = evaluate_with_tta(*given)
    assert again == plain
    return flipped


def test_logits_of_an_image_and_its_mirror_image_are_averaged(net):
    source = batches()
    right = total = both = 0
    net.eval()
    with torch.no_grad():
        for images, targets, *_ in source:
            plain, mirror = net(images)["label"], net(torch.flip(images, (3,)))["label"]
            mean = (plain + mirror) / 2
            known = targets["label"] >= 0
            right += int((mean.argmax(1) == targets["label"])[known].sum())
            both += int((plain.argmax(1) != mean.argmax(1)).sum())
            total += int(known.sum())
    assert both > 3  # or the flip would not show
    net.train()
    found = scored(net, {"label": KINDS["label"]}, source, flips=True)
    assert found["label"]["accuracy"] == pytest.approx(right / total)
    assert net.training


def test_only_tasks_that_name_classes_of_the_whole_image_are_scored(net):
    source = batches()
    plain, flipped = scored(net, KINDS, source), scored(net, KINDS, source, flips=True)
    assert set(plain) == set(KINDS)
    assert set(flipped) == {"label", "tags"}
    assert flipped["tags"].keys() == plain["tags"].keys()
    assert flipped["tags"] != plain["tags"]


def test_mirroring_both_the_images_changes_nothing(net):
    tasks = {"label": KINDS["label"], "tags": KINDS["tags"]}
    source = batches()
    mirrored = [batch._replace(images=batch.images.flip(-1)) for batch in source]
    first, second = scored(net, tasks, source, flips=True), scored(net, tasks, mirrored, flips=True)
    for name, values in first.items():
        assert values == pytest.approx(second[name])
    assert scored(net, tasks, source) != scored(net, tasks, mirrored)


def test_unlabelled_samples_change_nothing(net):
    source = batches((23,))
    label = source[0].targets["label"]
    kept = label >= 0
    assert not kept.all()
    part = Batch(source[0].images[kept], {"label": label[kept]})
    tasks = {"label": KINDS["label"]}
    found, expected = scored(net, tasks, source, flips=True), scored(net, tasks, [part], flips=True)
    assert found["label"] == pytest.approx(expected["label"])


def test_flips_are_refused_where_they_mean_nothing(net):
    source = batches((3,))
    rest = {name: KINDS[name] for name in ("number", "mask")}
    with pytest.raises(ValueError, match="flips are for classes of whole images, which none of number, mask names"):
        evaluate_with_tta(net, rest, source, CPU)
    cameras = nn.Module()
    cameras.forward = lambda images, present: {"label": torch.zeros(3, 5)}
    views = [source[0]._replace(images={"left": source[0].images})]
    with pytest.raises(ValueError, match="flips need the images of one camera, given several cameras"):
        evaluate_with_tta(cameras, {"label": KINDS["label"]}, views, CPU)
    with torch.no_grad():
        cached = [source[0]._replace(images=net.features(source[0].images))]
    with pytest.raises(ValueError, match="given cached Features"):
        evaluate_with_tta(cameras, {"label": KINDS["label"]}, cached, CPU)
