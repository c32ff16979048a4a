"""The ingredients of small-data recipes, through a run on the digits."""

from dataclasses import replace

import pytest
import torch

from hybridvit.backbones import ConvConfig, ResNetConfig
from hybridvit.config import from_yaml, to_yaml
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.load import DataConfig
from hybridvit.data.loaders.progressive import ProgressiveConfig
from hybridvit.recipe import Recipe
from hybridvit.runs.run import Run
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.segmentation import SegmentationConfig
from hybridvit.training.optimisers.muon import MuonConfig
from hybridvit.training.run_folder import RunFolder

EVERYTHING = AugmentConfig(
    crop_padding=1, crop_fill="reflect", policy="trivial", erasing=0.5, cutout=2, mixup=0.2, cutmix=1.0, repeats=2
)


def run(recipe, path=None):
    return Run(recipe, RunFolder(path, to_yaml(recipe)) if path else None, cpu=True)


@pytest.fixture
def recipe(tiny_recipe):
    return replace(
        tiny_recipe(steps=6, evaluate_every=3),
        augment=EVERYTHING,
        progressive=ProgressiveConfig(sizes=((0.0, 4), (0.4, 6), (0.7, 8))),
        optim=MuonConfig(lr=2e-3, schedule="linear"),
        whitening_init=True,
        tta=True,
    )


def test_all_ingredients_together_and_again_from_the_yaml(recipe, tmp_path):
    first = run(recipe, tmp_path / "run").fit()
    again = run(from_yaml(Recipe, (tmp_path / "run" / "recipe.yaml").read_text())).fit()
    for name in ("test", "test_tta", "validation", "history", "params"):
        assert first[name] == again[name]
    assert first["test_tta"].keys() == {"label"}
    assert first["test_tta"] != first["test"]


def test_a_run_that_was_cut_short_goes_on_bit_for_bit(recipe, tmp_path):
    whole = run(recipe).fit()

    class Stopped(Exception):
        pass

    def stop(progress):
        if progress.step == 4:
            raise Stopped

    with pytest.raises(Stopped):
        run(recipe, tmp_path / "run").fit(stop)
    rest = run(recipe, tmp_path / "run").fit()
    assert rest["history"]["loss"] == whole["history"]["loss"]
    assert rest["test"] == whole["test"]


def test_images_grow_over_the_run(recipe):
    source = run(recipe).trainer.train
    assert [source.batch(step).images.shape[-1] for step in range(6)] == [4, 4, 4, 6, 6, 8]


def test_batches_hold_half_as_many_samples_twice_and_know_how_they_were_mixed(recipe):
    ours = run(replace(recipe, augment=AugmentConfig(cutmix=1.0, repeats=2), progressive=ProgressiveConfig()))
    batch = ours.trainer.train.batch(0)
    assert batch.mix.share.min() < 1
    plain = run(replace(recipe, augment=AugmentConfig(repeats=2), progressive=ProgressiveConfig())).trainer.train
    assert len(plain.batch(0).images.flatten(1).unique(dim=0)) == 8


def test_the_first_convolution_starts_as_a_whitening_transform(recipe):
    config = replace(recipe, model=ResNetConfig(depths=(1,), width=24))
    net = run(config).net
    images = (
        run(replace(config, augment=AugmentConfig(), progressive=ProgressiveConfig())).trainer.train.batch(0).images
    )
    kernel = net.backbone.conv1.weight
    maps = torch.nn.functional.conv2d(images, kernel[:8], padding=1)
    spread = maps.transpose(0, 1).flatten(1).std(dim=1)
    assert spread.median().item() == pytest.approx(1, abs=0.3)
    assert torch.equal(kernel[9:18], -kernel[:9])
    assert not torch.equal(run(replace(config, whitening_init=False)).net.backbone.conv1.weight, kernel)


def test_what_cannot_be_is_refused_before_anything_runs(recipe):
    refused = [
        (replace(recipe, progressive=ProgressiveConfig(sizes=((0.0, 9),))), "must not exceed the images' shorter side"),
        (
            replace(recipe, progressive=ProgressiveConfig(sizes=((0.0, 5),))),
            "5 pixels: patch_size",
        ),
        (replace(recipe, augment=AugmentConfig(repeats=3)), "repeats"),
        (replace(recipe, augment=AugmentConfig(crop_padding=8, crop_fill="reflect")), "crop_fill 'reflect' needs"),
    ]
    mixed = replace(recipe, augment=AugmentConfig(mixup=0.3), progressive=ProgressiveConfig(), tasks=masks())
    refused.append((mixed, r"augment\.mixup mixes images, and task strokes"))
    for config, message in refused:
        with pytest.raises(ValueError, match=message):
            run(config)


def masks():
    return {"digit": ClassificationConfig(target="label"), "strokes": SegmentationConfig(target="strokes", width=8)}


def test_a_stem_of_convolutions_takes_any_size(recipe):
    model = replace(recipe.model, tokenizer=ConvConfig(channels=(6, 10), strides=(2, 1)))
    sizes = ProgressiveConfig(sizes=((0.0, 5), (0.5, 7)))
    assert run(replace(recipe, model=model, progressive=sizes)).trainer.train.batch(0).images.shape[-1] == 5


def test_images_left_on_disk_train_as_those_in_memory_do(recipe, tmp_path):
    from hybridvit.data.sets.digits import read_digits

    digits = read_digits().train[:60]
    from PIL import Image

    for index, (pixels, label) in enumerate(zip(digits.views["image"], digits.targets["label"], strict=True)):
        folder = tmp_path / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[0]).save(folder / f"{index}.png")
    config = replace(recipe, augment=AugmentConfig(), progressive=ProgressiveConfig())
    results = []
    for memory in (None, 1e-9):
        ours = run(replace(config, data=DataConfig(root=str(tmp_path / "digits"), memory=memory)))
        assert ours.splits.train.on_disk == (memory is not None)
        results.append(ours.fit())
    assert results[0]["history"]["loss"] == pytest.approx(results[1]["history"]["loss"], abs=1e-5)
    assert results[0]["test"] == results[1]["test"]
