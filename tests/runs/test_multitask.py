"""Runs of several heads, end to end: missing labels, several data sets and cameras, a teacher, balancing, resuming."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hybridvit.config import to_yaml
from hybridvit.data.load import DataConfig
from hybridvit.data.loaders.sampling import SamplingConfig
from hybridvit.data.synthetic.dataset import SyntheticConfig
from hybridvit.hydra.balance.kinds import FAMOConfig, FixedConfig, PCGradConfig, UncertaintyConfig
from hybridvit.hydra.views import ViewsConfig
from hybridvit.runs.diagnosis import sample_images
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.runs.run import Run
from hybridvit.studies.multitask.study import MultiTaskStudy
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.detection import DetectionConfig
from hybridvit.tasks.distillation import DistillationConfig
from hybridvit.tasks.keypoints import KeypointsConfig
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.tasks.segmentation import SegmentationConfig
from hybridvit.training.run_folder import RunFolder

DIGITS = DataConfig(dataset="digits", train_images=300)
TASKS = {
    "digit": ClassificationConfig(target="label"),
    "ink": RegressionConfig(target="ink"),
    "centre": KeypointsConfig(target="centre", width=8),
}


@pytest.fixture
def recipe(tiny_recipe):
    def make(tasks=TASKS, data=DIGITS, **fields):
        plain = tiny_recipe(**fields.pop("train", {}))
        return replace(plain, tasks=tasks, data=data, **fields)

    return make


def fit(recipe, path=None):
    return Run(recipe, RunFolder(path, to_yaml(recipe)) if path else None, cpu=True).fit()


def test_every_head_has_its_losses_its_metrics_and_its_share_of_the_conflict(recipe, tmp_path):
    result = fit(recipe(), tmp_path / "run")
    assert {task: list(found) for task, found in result["test"].items()} == {
        "digit": ["accuracy"],
        "ink": ["r2", "mae"],
        "centre": ["pck", "distance"],
    }
    assert result["tasks"] == {"digit": "classification", "ink": "regression", "centre": "keypoints"}
    history = result["history"]
    for index, total in enumerate(history["loss"]):
        assert total == pytest.approx(sum(history["losses"][task][index] for task in TASKS), rel=1e-5)
    assert [record["step"] for record in history["conflicts"]] == [2, 4, 6, 8, 10]
    assert [record["step"] for record in history["validation"]] == [4, 8, 10]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert any(set(line.get("losses", ())) == set(TASKS) for line in lines)
    assert any("conflict" in line for line in lines)


@pytest.mark.parametrize(
    "balance",
    [UncertaintyConfig(), PCGradConfig(), FAMOConfig(), PCGradConfig(at="features")],
    ids=["uncertainty", "pcgrad", "famo", "features"],
)
def test_a_balanced_run_that_was_cut_goes_on_bit_for_bit(recipe, tmp_path, balance):
    class Cut(Exception):
        pass

    def cut(progress):
        if progress.step == 6:
            raise Cut

    ours = recipe(balance=balance)
    whole = fit(ours, tmp_path / "whole")
    with pytest.raises(Cut):
        Run(ours, RunFolder(tmp_path / "cut", to_yaml(ours)), cpu=True).fit(cut)
    again = fit(ours, tmp_path / "cut")
    assert again["test"] == whole["test"]
    assert again["history"]["loss"] == whole["history"]["loss"]
    assert again["history"]["losses"] == whole["history"]["losses"]


def test_hidden_labels_are_missing_and_the_more_include_the_fewer(recipe):
    some = Run(recipe(data=replace(DIGITS, hide={"ink": 0.5})), cpu=True)
    most = Run(recipe(data=replace(DIGITS, hide={"ink": 0.9})), cpu=True)
    assert some.labelled["ink"]["train"] == 120
    assert most.labelled["ink"]["train"] == 24
    assert some.labelled["digit"]["train"] == 240
    assert some.labelled["ink"]["test"] == 360
    hidden, more = (np.isnan(run.splits.train.targets["ink"][:, 0]) for run in (some, most))
    assert (more | ~hidden).all()
    with pytest.raises(ValueError, match=r"data\.hide names 'inc', which is no target of a task; those are label, ink"):
        Run(recipe(data=replace(DIGITS, hide={"inc": 0.5})), cpu=True)


def test_a_task_alone_sees_the_samples_and_labels_that_it_sees_together(recipe):
    data = replace(DIGITS, hide={"ink": 0.5, "centre": 0.2}, names={"label": tuple("0123456789")})
    study = MultiTaskStudy(title="t", base=recipe(data=data), trunks={"vit": recipe().model})
    together = Run(study.joint("vit", "sum", 1), cpu=True)
    for task, config in TASKS.items():
        alone = Run(study.single("vit", task, 1), cpu=True)
        assert list(alone.tasks) == [task]
        assert alone.labelled[task] == together.labelled[task]
        for part in ("train", "test"):
            mine, theirs = getattr(alone.splits, part), getattr(together.splits, part)
            assert np.array_equal(mine.views["image"], theirs.views["image"])
            assert np.array_equal(mine.targets[config.target], theirs.targets[config.target], equal_nan=True)
        assert len(alone.splits.validation) == 0


def test_a_task_without_a_label_is_named_and_the_others_train_on(recipe):
    data = replace(DIGITS, hide={"ink": 1.0})
    with pytest.warns(UserWarning, match="task ink: no training sample has a label, so its head stays as it is"):
        run = Run(recipe(data=data), cpu=True)
    before = {key: value.clone() for key, value in run.net.heads["ink"].state_dict().items()}
    result = run.fit()
    assert result["history"]["losses"]["ink"] == [None] * 5
    assert all(loss is not None for loss in result["history"]["losses"]["digit"])
    after = run.trainer.net.heads["ink"].state_dict()
    assert torch.allclose(after["fc.weight"], before["fc.weight"], rtol=0.05)  # weight decay alone
    with pytest.raises(ValueError, match="no training sample of digits has a label for any of the tasks ink"):
        Run(recipe({"ink": TASKS["ink"]}, data), cpu=True)


def test_a_loss_that_is_not_finite_names_its_task(recipe):
    run = Run(recipe(train={"log_every": 1}), cpu=True)
    with torch.no_grad():
        run.net.heads["ink"].fc.bias.fill_(torch.inf)
    with pytest.raises(RuntimeError, match="the loss of 'ink' is not a finite number at step 1"):
        run.fit()


def test_weights_must_name_the_tasks(recipe):
    with pytest.raises(ValueError, match=r"balance\.weights names no task 'inc': did you mean ink"):
        Run(recipe(balance=FixedConfig(weights={"inc": 1.0})), cpu=True)


def test_a_task_that_reads_no_column_is_refused_with_what_there_is(recipe):
    with pytest.raises(ValueError, match="digits has no target column 'lable'; it has label, even, loops"):
        Run(recipe({"digit": ClassificationConfig(target="lable")}), cpu=True)
    with pytest.raises(ValueError, match="column 'ink' of digits holds numbers, but class is expected"):
        Run(recipe({"digit": ClassificationConfig(target="ink")}), cpu=True)
    two = {"a": ClassificationConfig(target="ink"), "b": RegressionConfig(target="ink")}
    with pytest.raises(ValueError, match=r"tasks\.b reads 'ink' as numbers, another task as class"):
        Run(recipe(two), cpu=True)
    with pytest.raises(ValueError, match=r"data\.names names 'lable', which no task reads: did you mean label"):
        Run(recipe(data=replace(DIGITS, names={"lable": ("a",)})), cpu=True)


def test_a_student_learns_from_a_teacher_also_where_nothing_is_labelled(recipe, tmp_path):
    fit(recipe({"digit": TASKS["digit"]}), tmp_path / "teacher")
    teacher = DistillationConfig(teacher=str(tmp_path / "teacher"), task="digit", mode="soft", temperature=2.0)
    student = recipe({"copy": teacher}, train={"steps": 60, "evaluate_every": 60})
    student = replace(student, optim=replace(student.optim, lr=1e-2))
    run = Run(student, RunFolder(tmp_path / "student", to_yaml(student)), cpu=True)
    batch = run.trainer.train.batch(3)
    again = LoadedRun(tmp_path / "teacher")
    pixels = batch.images * run.data.normalisation["image"].std[0] + run.data.normalisation["image"].mean[0]
    theirs = (pixels - again.data.normalisation["image"].mean[0]) / again.data.normalisation["image"].std[0]
    torch.testing.assert_close(batch.targets["teacher"], again.net(theirs)["digit"].detach(), rtol=1e-4, atol=1e-4)
    result = run.fit()
    assert result["test"]["copy"]["agreement"] > 0.3  # ten classes
    back = LoadedRun(tmp_path / "student")
    assert back.evaluate("test")[0]["copy"] == pytest.approx(result["test"]["copy"])
    with pytest.raises(ValueError, match="has no classification head 'digits': did you mean digit"):
        Run(recipe({"copy": replace(teacher, task="digits")}), cpu=True)


def write_set(folder, name, columns, count, seed):
    """A manifest of grey pictures whose brightness is the answer of every column."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *columns])
        for index in range(count):
            bright = index % 2
            pixels = (rng.integers(0, 60, (8, 8)) + 190 * bright).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}{index}.png")
            writer.writerow([f"{name}{index}.png", *(value[bright] for value in columns.values())])
    return str(folder / f"{name}.csv")


def test_heads_on_different_data_sets_train_together(recipe, tmp_path):
    first = write_set(tmp_path, "kinds", {"kind": ("dark", "light")}, 60, 0)
    second = write_set(tmp_path, "levels", {"level": ("0.5", "7.5")}, 20, 1)
    tasks = {"kind": ClassificationConfig(target="kind"), "level": RegressionConfig(target="level")}
    data = DataConfig(root=(first, second), validation=0.0)
    ours = recipe(tasks, data, train={"steps": 60}, sampling=SamplingConfig(kind="round_robin"))
    ours = replace(ours, optim=replace(ours.optim, lr=1e-2))
    run = Run(ours, cpu=True)
    assert run.labelled["kind"] == {"train": 48, "validation": 0, "test": 12}
    assert run.labelled["level"]["train"] == 16
    first_batch, second_batch = run.trainer.train.batch(0), run.trainer.train.batch(1)
    assert (first_batch.targets["kind"] >= 0).all()
    assert first_batch.targets["level"].isnan().all()
    assert (second_batch.targets["kind"] == -1).all()
    assert not second_batch.targets["level"].isnan().any()
    result = run.fit()
    assert result["test"]["kind"]["accuracy"] == 1
    assert result["test"]["level"]["r2"] > 0.9
    with pytest.raises(ValueError, match="sampling round_robin has no effect: the data is a single data set"):
        Run(recipe(sampling=SamplingConfig(kind="round_robin")), cpu=True)


RIG = DataConfig(synthetic=SyntheticConfig(samples=48, cameras=4, size=(16, 24), grid=(6, 5), missing=0.3))
RIG_TASKS = {
    "occupancy": SegmentationConfig(target="occupancy", width=8),
    "heading": RegressionConfig(target="heading", angle="degrees"),
    "front": ClassificationConfig(target="nearest_front", view="front"),
}


@pytest.mark.parametrize("fusion", ["attention", "bev"])
def test_several_cameras_end_to_end(recipe, tmp_path, fusion):
    views = ViewsConfig(fusion=fusion, grid=(6, 5), embed_dim=16, num_heads=2, dropout=0.2)
    ours = recipe(RIG_TASKS, RIG, views=views, augment=type(recipe().augment)())
    run = Run(ours, RunFolder(tmp_path / "run", to_yaml(ours)), cpu=True)
    there = run.splits.train.present["front"]
    assert run.labelled["front"]["train"] == there.sum() < len(there)
    result = run.fit()
    assert set(result["test"]) == set(RIG_TASKS)
    back = LoadedRun(tmp_path / "run")
    scores, _ = back.evaluate("test")
    assert scores["occupancy"] == pytest.approx(result["test"]["occupancy"])
    pictures = {}
    for view in ("front", "left"):
        pictures[view] = tmp_path / f"{view}.png"
        Image.fromarray(run.splits.test.views[view][0].transpose(1, 2, 0)).save(pictures[view])
    (row,) = back.predict([pictures])
    assert row["occupancy"]["mask"].shape == (6, 5)
    assert row["front"]["class"] in ("none", "box", "cylinder", "sphere")
    with pytest.raises(ValueError, match="this run has no camera 'frnt': did you mean front"):
        back.predict([{"frnt": pictures["front"]}])
    with pytest.raises(ValueError, match="this run has 4 cameras: name the one of"):
        back.predict([pictures["front"]])
    with pytest.raises(ValueError, match="this run has 4 cameras, and diagnose reads runs with one"):
        sample_images(back, 2)


def test_what_several_cameras_cannot_do_is_refused(recipe):
    with pytest.raises(ValueError, match=r"augment\.crop_padding is for one image a sample"):
        Run(recipe(RIG_TASKS, RIG, views=ViewsConfig(grid=(6, 5))), cpu=True)
    plain = type(recipe().augment)()
    wrong = {"front": replace(RIG_TASKS["front"], view="frontal")}
    with pytest.raises(ValueError, match=r"tasks\.front\.view is 'frontal': did you mean front"):
        Run(recipe(wrong, RIG, augment=plain), cpu=True)
    with pytest.raises(ValueError, match="has one image for each sample, so views has no effect"):
        Run(recipe(views=ViewsConfig()), cpu=True)


def test_every_kind_of_head_predicts_from_files(recipe, tmp_path):
    tasks = {**TASKS, "strokes": SegmentationConfig(target="strokes", width=8), "box": DetectionConfig(target="box")}
    fit(recipe(tasks), tmp_path / "run")
    pixels = np.zeros((8, 8), np.uint8)
    pixels[2:6, 3:5] = 255
    Image.fromarray(pixels).save(tmp_path / "one.png")
    (row,) = LoadedRun(tmp_path / "run").predict([tmp_path / "one.png"])
    assert set(row) == {"image", *tasks}
    assert row["strokes"]["mask"].shape == (8, 8)
    assert set(row["ink"]) == {"ink"}
    assert 0 <= row["centre"]["centre"]["x"] <= 8
