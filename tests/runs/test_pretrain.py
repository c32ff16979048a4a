"""Pre-training on the digits: what is hidden, that it goes on where it stopped, and that nothing else moves."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from hybridvit.backbones import ConvPoolConfig, PatchConfig, ResNetConfig, ViTConfig
from hybridvit.config import from_yaml, to_yaml
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.batch import Batch
from hybridvit.data.load import load
from hybridvit.models import create_backbone
from hybridvit.runs.dataset_info import DatasetInfo
from hybridvit.runs.net import column_requests
from hybridvit.runs.pretrain import MaskedBatches, pretrain, pretraining_batches, squares_normalised
from hybridvit.runs.stage_config import PretrainConfig
from hybridvit.tasks.objectives import ReconstructionTask
from hybridvit.training import checkpoint
from hybridvit.training.accelerator import make_accelerator

CONFIG = PretrainConfig(steps=6, mask_size=2, batch_size=8)


class Interrupted(Exception):
    """Stands for a power cut."""


@pytest.fixture(scope="module")
def parts(tiny_recipe):
    recipe = replace(tiny_recipe(evaluate_every=2), augment=AugmentConfig(crop_padding=1, mixup=0.5))
    splits = load(recipe.data, recipe.seed, column_requests(recipe.tasks, {}))
    return recipe, splits.train, DatasetInfo.of(splits)


def run(parts, folder=None, config=CONFIG, on_step=None, model=None):
    """A backbone of the recipe before and after pre-training, and the result."""
    recipe, train, data = parts
    accelerator = make_accelerator("fp32", cpu=True)
    torch.manual_seed(5)
    backbone = create_backbone(model or recipe.model, (8, 8), in_channels=1)
    fresh = {key: value.clone() for key, value in backbone.state_dict().items()}
    source = pretraining_batches(config, recipe, train, data, accelerator.device)
    result = pretrain(backbone, source, config, recipe, data, accelerator, folder, on_step)
    return fresh, backbone.state_dict(), result


def check_equal(first, second):
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[key]) for key, value in first.items())


class Fixed:
    """The same images at every step."""

    def __init__(self, images):
        self.images = images

    def batch(self, step):
        return Batch(self.images.clone(), {"label": torch.zeros(len(self.images))})


def masked(images, seed=3, **config):
    return MaskedBatches(Fixed(images), PretrainConfig(**config), seed, tuple(images.shape[2:]), "pixels")


@pytest.mark.parametrize("normalise", [False, True])
def test_squares_are_hidden_from_the_backbone_and_only_these_are_asked_for(normalise):
    images = torch.randn(7, 2, 9, 13) + 5
    batch = masked(images, mask_size=3, mask_ratio=0.4, normalise=normalise).batch(0)
    hidden = ~batch.targets["pixels"].isnan()
    wanted = squares_normalised(images, 3) if normalise else images
    assert torch.equal(batch.targets["pixels"][hidden], wanted[hidden])
    assert torch.equal(batch.images, torch.where(hidden, 0, images))
    assert list(batch.targets) == ["pixels"]
    grid = hidden[:, 0, ::3, ::3]
    assert torch.equal(hidden, grid.repeat_interleave(3, 1).repeat_interleave(3, 2)[:, None, :9, :13].expand_as(hidden))
    assert grid.sum(dim=(1, 2)).tolist() == [round(0.4 * 15)] * 7
    assert len({tuple(image.flatten().tolist()) for image in grid}) > 1


def test_masks_are_a_function_of_seed_and_step():
    images = torch.randn(3, 1, 8, 8)
    one, again, other = (masked(images, seed, mask_size=2) for seed in (3, 3, 4))
    assert torch.equal(one.batch(7).images, again.batch(7).images)
    assert not torch.equal(one.batch(7).images, one.batch(8).images)
    assert not torch.equal(one.batch(7).images, other.batch(7).images)


@pytest.mark.parametrize(("ratio", "hidden"), [(0.01, 1), (0.99, 3)])
def test_something_is_always_hidden_and_something_seen(ratio, hidden):
    pixels = masked(torch.randn(5, 1, 4, 6), mask_size=3, mask_ratio=ratio).batch(0).targets["pixels"]
    squares = [[pixels[i, 0, y, x].isnan() for y in (0, 3) for x in (0, 3)] for i in range(5)]
    assert [4 - sum(map(int, seen)) for seen in squares] == [hidden] * 5


def test_squares_are_normalised_one_by_one():
    images = torch.randn(2, 3, 7, 5) * 2 + 1
    found = squares_normalised(images, 4)
    for rows in (slice(0, 4), slice(4, 7)):
        for columns in (slice(0, 4), slice(4, 5)):
            square = images[:, :, rows, columns].double().numpy()
            mean, variance = square.mean((1, 2, 3), keepdims=True), square.var((1, 2, 3), keepdims=True)
            expected = (square - mean) / np.sqrt(variance + 1e-4)
            np.testing.assert_allclose(found[:, :, rows, columns], expected, rtol=1e-3, atol=1e-4)


def test_what_is_seen_pulls_at_no_weight():
    task = ReconstructionTask("t", (1, 8, 8))
    batch = masked(torch.randn(3, 1, 8, 8), mask_size=4).batch(0)
    prediction = torch.randn(3, 1, 8, 8, requires_grad=True)
    task.loss(prediction, batch.targets["pixels"]).backward()
    seen = batch.targets["pixels"].isnan()
    assert not prediction.grad[seen].any()
    assert (prediction.grad[~seen] != 0).all()


MODELS = {
    "class token": ViTConfig(embed_dim=8, depth=1, num_heads=2, tokenizer=PatchConfig(patch_size=4)),
    "convolutions": ViTConfig(embed_dim=8, depth=1, num_heads=2, tokenizer=ConvPoolConfig(layers=2), pooling="seq"),
    "resnet": ResNetConfig(depths=(1, 1, 1), width=4),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_any_backbone_learns_to_fill_in(parts, model):
    recipe, *others = parts
    config = PretrainConfig(steps=30, mask_size=4, batch_size=16, lr=5e-3)
    calm = replace(recipe, train=replace(recipe.train, log_every=5, evaluate_every=100))
    fresh, after, result = run((calm, *others), config=config, model=model)
    loss = result["history"]["loss"]
    assert loss[-1] < loss[0]
    weights = [key for key in fresh if key.endswith("weight") and "class_blocks" not in key]
    assert not any(torch.equal(fresh[key], after[key]) for key in weights)


def test_a_stopped_pre_training_goes_on_to_the_same_weights(parts, tmp_path):
    _, straight, result = run(parts)

    def stop(progress):
        if progress.step == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        run(parts, tmp_path, on_step=stop)
    torch.manual_seed(1234)
    taken = []
    _, resumed, again = run(parts, tmp_path, on_step=lambda progress: taken.append(progress.step))
    assert taken == [5, 6]
    check_equal(straight, resumed)
    assert again["history"] == result["history"]


def test_a_finished_pre_training_is_loaded_and_not_run_again(parts, tmp_path, monkeypatch):
    fresh, after, result = run(parts, tmp_path)
    assert not torch.equal(fresh["blocks.0.attention.qkv.weight"], after["blocks.0.attention.qkv.weight"])
    monkeypatch.setattr("hybridvit.training.engine.Trainer.fit", None)
    _, loaded, again = run(parts, tmp_path)
    check_equal(after, loaded)
    assert again == result
    assert json.loads((tmp_path / "result.json").read_text())["seconds"] == result["seconds"] > 0
    assert from_yaml(PretrainConfig, (tmp_path / "recipe.yaml").read_text()) == CONFIG


def test_a_corrupt_pre_training_is_named(parts, tmp_path):
    run(parts, tmp_path)
    for path in tmp_path.rglob(checkpoint.WEIGHTS):
        path.write_bytes(b"nothing")
    with pytest.raises(checkpoint.CorruptCheckpoint, match="no other checkpoint is whole"):
        run(parts, tmp_path)


def test_other_settings_want_another_folder(parts, tmp_path):
    run(parts, tmp_path)
    with pytest.raises(ValueError, match="already holds a run of another recipe"):
        run(parts, tmp_path, replace(CONFIG, mask_ratio=0.7))


def test_random_numbers_go_on_as_if_nothing_had_been(parts):
    torch.manual_seed(5)
    create_backbone(parts[0].model, (8, 8), in_channels=1)
    expected = torch.rand(3)
    run(parts)
    assert torch.equal(torch.rand(3), expected)


def test_images_are_moved_as_in_the_training_and_not_mixed(parts):
    recipe, train, data = parts
    source = pretraining_batches(CONFIG, recipe, train, data, torch.device("cpu"))
    assert source.data.augmentation == AugmentConfig(crop_padding=1)
    batch = source.batch(0)
    assert batch.images.shape == (8, 1, 8, 8)
    assert batch.mix is None
    whole = pretraining_batches(replace(CONFIG, batch_size=None), recipe, train, data, torch.device("cpu"))
    assert len(whole.batch(0).images) == recipe.train.batch_size


def test_several_cameras_are_refused(parts):
    recipe, train, data = parts
    rig = replace(data, shapes={"left": (1, 8, 8), "right": (1, 8, 8)})
    with pytest.raises(ValueError, match="one image for each sample, this data has views left, right"):
        pretraining_batches(CONFIG, recipe, train, rig, torch.device("cpu"))


def test_settings_that_make_no_sense_are_refused(parts):
    for name, values in {
        "steps": [0],
        "lr": [0.0, math.nan, math.inf],
        "batch_size": [0],
        "mask_ratio": [0.0, 1.0, math.nan],
        "mask_size": [0],
    }.items():
        for value in values:
            with pytest.raises(ValueError, match=name):
                PretrainConfig(**{name: value})
    with pytest.raises(ValueError, match="mask_size 8 covers images of 8x8 pixels whole: choose 4"):
        run(parts, config=replace(CONFIG, mask_size=8))
    assert from_yaml(PretrainConfig, to_yaml(CONFIG)) == CONFIG
