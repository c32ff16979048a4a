"""Guidance on the digits: what the CNN sees and says, that it is trained once, and that nothing of it stays."""

import math
from dataclasses import replace

import pytest
import torch

from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.config import from_yaml, to_yaml
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.load import load
from hybridvit.data.loaders.batches import training_batches
from hybridvit.data.loaders.device_loader import TrainingData
from hybridvit.data.loaders.sampling import BatchSampler
from hybridvit.hydra.balance.kinds import FAMOConfig
from hybridvit.runs.cnn_teacher import CNNTeacher
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.runs.net import column_requests, create_net, create_task
from hybridvit.runs.run import Run
from hybridvit.runs.stage_config import CNNTeacherConfig, PretrainConfig
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.distillation import DistillationConfig
from hybridvit.tasks.objectives import normalised_maps
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.training.accelerator import make_accelerator
from hybridvit.training.engine import Trainer
from hybridvit.training.run_folder import RunFolder

CONFIG = CNNTeacherConfig(model=ResNetConfig(depths=(1, 1), width=4), steps=6, what="both")
STUDENT = ViTConfig(embed_dim=8, depth=2, num_heads=2, mlp_ratio=2.0, tokenizer=PatchConfig(patch_size=4), dropout=0.1)


class Interrupted(Exception):
    """Stands for a power cut."""


def stop_at(step):
    def on_step(progress):
        if progress.step == step:
            raise Interrupted

    return on_step


class Setting:
    """A recipe, its data, its student and the CNN that teaches it, put together as a run does."""

    def __init__(self, recipe, config=CONFIG):
        self.recipe = recipe
        self.splits = load(recipe.data, recipe.seed, column_requests(recipe.tasks, {}))
        self.data = DatasetInfo.of(self.splits)
        self.accelerator = make_accelerator("fp32", cpu=True)
        self.tasks = {n: create_task(n, c, self.data, self.splits.train) for n, c in recipe.tasks.items()}
        torch.manual_seed(recipe.seed)
        self.net = create_net(recipe, self.data, self.tasks)
        order = BatchSampler(self.splits.train.sources, recipe.train.batch_size, recipe.seed, recipe.sampling)
        batches = TrainingData(
            self.splits.train, self.data.columns, self.data.normalisation, recipe.augment, order, recipe.seed,
            self.accelerator.device,
        )  # fmt: skip
        self.source = training_batches(batches)
        self.teacher = CNNTeacher(config, recipe, self.data, self.tasks, self.accelerator)

    def train(self):
        """Joins, trains both, leaves; the student that was evaluated."""
        self.teacher.join(self.net)
        tasks = {**self.tasks, **self.teacher.tasks}
        trainer = Trainer(
            self.net,
            tasks,
            self.recipe.train,
            self.recipe.optim,
            self.teacher.source(self.source),
            accelerator=self.accelerator,
            auxiliary=tuple(self.teacher.tasks),
        )
        self.teacher.fit(self.source)
        self.history = trainer.fit()
        self.teacher.leave(self.net)
        self.teacher.leave(trainer.evaluated)
        return trainer.evaluated


@pytest.fixture(scope="module")
def recipe(tiny_recipe):
    return replace(tiny_recipe(steps=6, evaluate_every=2, batch_size=8), model=STUDENT, augment=AugmentConfig())


def check_equal(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


def test_the_student_starts_as_without_a_teacher_and_ends_with_its_own_heads(recipe):
    setting = Setting(recipe)
    torch.manual_seed(recipe.seed)
    alone = create_net(recipe, setting.data, setting.tasks)
    setting.teacher.join(setting.net)
    started = setting.net.state_dict()
    projections = {f"heads.cnn_teacher.project.{stage}.{part}" for stage in (0, 1) for part in ("weight", "bias")}
    assert started.keys() - alone.state_dict().keys() == projections
    check_equal(alone.state_dict(), {key: value for key, value in started.items() if key not in projections})
    assert set(setting.net.heads) == {"label", "cnn_teacher", "cnn_teacher_label"}
    setting.teacher.leave(setting.net)
    check_equal(alone.state_dict(), setting.net.state_dict())
    setting.teacher.leave(setting.net)
    trained = Setting(recipe).train()
    assert trained.state_dict().keys() == alone.state_dict().keys()
    assert list(trained(torch.zeros(2, 1, 8, 8))) == ["label"]


@pytest.mark.parametrize("what", ["features", "logits"])
def test_the_student_is_pulled_by_what_it_follows(recipe, what):
    setting = Setting(recipe, replace(CONFIG, what=what))
    setting.train()
    (name,) = setting.teacher.tasks
    assert name == {"features": "cnn_teacher", "logits": "cnn_teacher_label"}[what]
    assert all(value > 0 for value in setting.history.losses[name])
    weaker = Setting(recipe, replace(CONFIG, what=what, weight=1e-3)).train()
    qkv = "backbone.blocks.0.attention.qkv.weight"
    assert not torch.equal(setting.net.state_dict()[qkv], weaker.state_dict()[qkv])


def test_the_cnn_says_what_its_stages_and_its_heads_give_for_the_very_images(recipe):
    mixed = replace(recipe, augment=AugmentConfig(crop_padding=1, mixup=0.5))
    setting = Setting(mixed)
    setting.teacher.fit(setting.source)
    batch = setting.teacher.source(setting.source).batch(3)
    plain = setting.source.batch(3)
    assert torch.equal(batch.images, plain.images)
    assert torch.equal(batch.mix.share, plain.mix.share)
    assert torch.equal(batch.targets["label"], plain.targets["label"])
    net = setting.teacher.net
    assert not any(module.training for module in net.modules())
    maps = net.backbone(plain.images).maps
    assert [tuple(maps[stride].shape[1:]) for stride in (1, 2)] == [(4, 8, 8), (8, 4, 4)]
    torch.testing.assert_close(batch.targets["cnn_teacher"], normalised_maps([maps[1], maps[2]]))
    torch.testing.assert_close(batch.targets["cnn_teacher_label"], net(plain.images)["label"])
    assert not any(batch.targets[name].requires_grad for name in setting.teacher.tasks)


def test_the_cnn_sees_the_training_images_alone(recipe, monkeypatch):
    setting, seen = Setting(recipe), []
    setting.teacher.net.register_forward_pre_hook(lambda net, inputs: seen.append(inputs[0]))
    setting.teacher.fit(setting.source)
    parts = {}
    for part in ("train", "validation", "test"):
        images = setting.data.normalisation["image"](torch.from_numpy(getattr(setting.splits, part).views["image"]))
        parts[part] = {image.numpy().tobytes() for image in images}
    shown = {image.numpy().tobytes() for batch in seen for image in batch}
    assert len(seen) == CONFIG.steps
    assert parts["test"]
    assert parts["validation"]
    assert shown <= parts["train"]
    assert not shown & (parts["test"] | parts["validation"])


def test_a_stopped_teacher_resumes_to_the_same_cnn(recipe, tmp_path):
    straight, stopped = Setting(recipe), Setting(recipe)
    result = straight.teacher.fit(straight.source)
    with pytest.raises(Interrupted):
        stopped.teacher.fit(stopped.source, tmp_path, stop_at(5))
    torch.manual_seed(1234)
    resumed, taken = Setting(recipe), []
    again = resumed.teacher.fit(resumed.source, tmp_path, lambda progress: taken.append(progress.step))
    assert taken == [5, 6]
    check_equal(straight.teacher.net.state_dict(), resumed.teacher.net.state_dict())
    assert again["history"] == result["history"]


def test_a_finished_cnn_is_loaded_and_not_trained_again(recipe, tmp_path, monkeypatch):
    first = Setting(recipe)
    result = first.teacher.fit(first.source, tmp_path)
    assert result["seconds"] > 0
    assert result["params"] == sum(p.numel() for p in first.teacher.net.parameters())
    monkeypatch.setattr("hybridvit.training.engine.Trainer.fit", None)
    second = Setting(recipe)
    assert second.teacher.fit(second.source, tmp_path) == result
    check_equal(first.teacher.net.state_dict(), second.teacher.net.state_dict())


def test_the_cnn_is_a_run_of_its_own(recipe, tmp_path):
    setting = Setting(recipe)
    setting.teacher.fit(setting.source, tmp_path)
    trained = LoadedRun(tmp_path)
    check_equal(trained.net.state_dict(), setting.teacher.net.state_dict())
    assert trained.recipe.name == "tiny-teacher"
    assert trained.recipe.model == CONFIG.model
    assert 0 <= trained.evaluate("test")[0]["label"]["accuracy"] <= 1


@pytest.fixture(scope="module")
def aided(recipe):
    """With all that may come before and beside a training."""
    return replace(recipe, pretrain=PretrainConfig(steps=3, mask_size=4), teacher=replace(CONFIG, steps=3))


def begin(recipe, folder):
    return Run(recipe, RunFolder(folder, to_yaml(recipe)), cpu=True)


def timeless(result):
    parts = {key: value for key, value in result.items() if key != "seconds"}
    return {**parts, **{name: {**parts[name], "seconds": 0} for name in ("pretraining", "teacher")}}


@pytest.fixture(scope="module")
def straight(aided, tmp_path_factory):
    """A run that is not interrupted: its result, its final weights and its folder."""
    folder = tmp_path_factory.mktemp("straight")
    run = begin(aided, folder)
    return run.fit(), run.trainer.evaluated.state_dict(), folder


def test_nothing_of_what_helped_is_left_in_a_run(recipe, straight):
    plain, (result, weights, folder) = Run(recipe, cpu=True).fit(), straight
    for key in ("tasks", "params", "validation_images"):
        assert result[key] == plain[key]
    assert result["history"].keys() == plain["history"].keys()
    assert result["history"]["loss"] != plain["history"]["loss"]
    for scores in (result["test"], result["validation"]):
        assert list(scores) == ["label"]
    assert result["seconds"]["pretraining"] == result["pretraining"]["seconds"] > 0
    assert result["seconds"]["teacher"] == result["teacher"]["seconds"] > 0
    trained = LoadedRun(folder)
    assert list(trained.tasks) == list(trained.net.heads) == ["label"]
    check_equal(trained.net.state_dict(), weights)
    assert trained.evaluate("test")[0] == result["test"]


@pytest.mark.parametrize("during", ["pretraining", "teacher", "training"])
def test_a_run_that_stopped_anywhere_goes_on_to_the_same_result(aided, straight, tmp_path, during):
    result, weights, _ = straight
    calls = {"pretraining": 2, "teacher": 5, "training": 11}[during]  # three steps each before the six of the training
    taken = []

    def stop(progress):
        taken.append(progress.step)
        if len(taken) == calls:
            raise Interrupted

    with pytest.raises(Interrupted):
        begin(aided, tmp_path).fit(stop)
    torch.manual_seed(1234)
    resumed = begin(aided, tmp_path)
    assert timeless(resumed.fit()) == timeless(result)
    check_equal(resumed.trainer.evaluated.state_dict(), weights)


@pytest.mark.parametrize(
    ("depth", "stages", "layers"), [(12, 3, (0, 6, 11)), (12, 4, (0, 4, 7, 11)), (2, 3, (0, 0, 1)), (5, 1, (0,))]
)
def test_stages_are_spread_over_the_blocks(recipe, depth, stages, layers):
    teacher = Setting(recipe, replace(CONFIG, model=ResNetConfig(depths=(1,) * stages, width=2))).teacher
    assert teacher._layers(depth) == layers


def test_a_distilled_task_is_not_the_cnns(recipe):
    copied = DistillationConfig(teacher="elsewhere", task="label")
    setting = Setting(recipe)
    both = {**recipe.tasks, "copy": copied}
    teacher = CNNTeacher(CONFIG, replace(recipe, tasks=both), setting.data, setting.tasks, setting.accelerator)
    assert list(teacher.recipe.tasks) == ["label"]
    with pytest.raises(ValueError, match="distillations aside, and this recipe has no other"):
        CNNTeacher(CONFIG, replace(recipe, tasks={"copy": copied}), setting.data, {}, setting.accelerator)


def test_recipes_that_cannot_be_taught_are_refused(recipe):
    def join(config, changes):
        setting = Setting(replace(recipe, **changes), config)
        setting.teacher.join(setting.net)

    def refused(match, config=CONFIG, **changes):
        with pytest.raises(ValueError, match=match):
            join(config, changes)

    refused("balance sum, given famo", balance=FAMOConfig())
    refused("cnn_teacher is the name of a head", tasks={"cnn_teacher": ClassificationConfig()})
    refused("cnn_teacher_x is the name of a head", tasks={n: ClassificationConfig() for n in ("x", "cnn_teacher_x")})
    refused("needs a classification task: choose 'features'", tasks={"ink": RegressionConfig(target="ink")})
    refused("which ResNet has not: choose 'logits'", model=ResNetConfig(depths=(1,), width=4))
    refused(r"for each of the CNN's 2 stages, given \(0,\)", replace(CONFIG, layers=(0,)))
    refused(r"blocks of 0 .. 1, given \(0, 2\)", replace(CONFIG, layers=(0, 2)))
    setting = Setting(recipe)
    rig = replace(setting.data, shapes={"left": (1, 8, 8), "right": (1, 8, 8)})
    with pytest.raises(ValueError, match="one image for each sample, this data has cameras left, right"):
        CNNTeacher(CONFIG, recipe, rig, setting.tasks, setting.accelerator)


def test_settings_that_make_no_sense_are_refused():
    assert from_yaml(CNNTeacherConfig, to_yaml(CONFIG)) == CONFIG
    assert from_yaml(CNNTeacherConfig, to_yaml(CNNTeacherConfig())) == CNNTeacherConfig()
    for name, values in {
        "steps": [0],
        "lr": [0.0, math.nan],
        "weight": [0.0, -1.0, math.inf],
        "what": ["all"],
        "layers": [(-1, 2)],
    }.items():
        for value in values:
            with pytest.raises(ValueError, match=name):
                CNNTeacherConfig(**{name: value})
    with pytest.raises(ValueError, match=r"layers \(0, 1\) has no effect on what 'logits'"):
        CNNTeacherConfig(layers=(0, 1), what="logits")
