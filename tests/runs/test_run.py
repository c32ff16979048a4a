"""From names and recipes to models and runs, and back from a run folder."""

import json
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.ops import StochasticDepth

from hybridvit.backbones import ConvConfig, PatchConfig, ResNetConfig, ViTConfig
from hybridvit.backbones.variants import VARIANTS
from hybridvit.cli import DONE, main
from hybridvit.config import to_yaml
from hybridvit.data.load import DataConfig
from hybridvit.data.samples import Splits
from hybridvit.layers import GPSA, MHSA
from hybridvit.models import create_backbone, create_model, list_models, model_config
from hybridvit.recipe import Recipe
from hybridvit.runs.loaded_run import LoadedRun, load_run
from hybridvit.runs.run import Run
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.kinds import AdamWConfig
from hybridvit.training.run_folder import RunFolder

SMALL = ViTConfig(embed_dim=16, depth=3, num_heads=4, mlp_ratio=2.0, tokenizer=PatchConfig(patch_size=2))


def test_models_are_listed_by_pattern_and_sorted():
    assert list_models() == sorted(VARIANTS)
    assert list_models("convit_*_plus") == ["convit_base_plus", "convit_small_plus", "convit_tiny_plus"]
    assert list_models("vit*") == ["vit_base_16", "vit_lite_7_4", "vit_small_16", "vit_tiny_16"]
    assert list_models("nothing") == []


@pytest.mark.parametrize("function", [create_model, create_backbone, model_config])
def test_an_unknown_name_is_refused_with_the_nearest(function):
    with pytest.raises(ValueError, match="there is no model 'convit_tyni': did you mean convit_tiny"):
        function("convit_tyni")


def test_the_promised_call():
    model = create_model("convit_tiny", num_classes=10, image_size=32, patch_size=4, in_channels=3)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert model.backbone.spec.grid == (8, 8)
    assert isinstance(model.backbone.blocks[9].attention, GPSA)
    assert isinstance(model.backbone.blocks[10].attention, MHSA)


@pytest.mark.parametrize("name", ["resnet18", "vit_lite_7_4"])
def test_images_need_be_neither_square_nor_coloured(name):
    model = create_model(name, num_classes=7, image_size=(8, 12), in_channels=1)
    assert model(torch.randn(2, 1, 8, 12)).shape == (2, 7)
    backbone = create_backbone(name, image_size=(8, 12), in_channels=1)
    assert type(backbone) is type(model.backbone)
    assert backbone.spec == model.backbone.spec
    assert backbone(torch.randn(2, 1, 8, 12)).grid == backbone.spec.grid


def test_a_configuration_serves_as_well_as_a_name():
    config = model_config("vit_tiny_16", patch_size=4)
    assert config == replace(VARIANTS["vit_tiny_16"].config, tokenizer=PatchConfig(patch_size=4))
    torch.manual_seed(1)
    by_name = create_model("vit_tiny_16", num_classes=3, image_size=8, patch_size=4)
    torch.manual_seed(1)
    by_config = create_model(config, num_classes=3, image_size=8)
    for key, value in by_name.state_dict().items():
        assert torch.equal(value, by_config.state_dict()[key])


def test_fields_reach_the_layers():
    config = replace(
        SMALL,
        attention=("gpsa", "gpsa", "mhsa"),
        class_token_layer=2,
        qkv_bias=False,
        locality_strength=3.0,
        mlp_ratio=1.3,
        drop_path=0.2,
    )
    backbone = create_backbone(config, image_size=8)
    assert [type(block.attention) for block in backbone.blocks] == [GPSA, GPSA, MHSA]
    assert backbone.blocks[0].attention.position[0].tolist() == [-3, -3, -3]
    assert all(block.attention.qkv.bias is None for block in backbone.blocks)
    assert backbone.blocks[0].feedforward.fc1.out_features == 21
    rates = [block.drop_path.p if isinstance(block.drop_path, StochasticDepth) else 0 for block in backbone.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2])
    assert create_backbone(SMALL, image_size=8).blocks[0].attention.qkv.bias is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "resnet18", "patch_size": 4}, "resnet18 has no patches, so patch_size 4 has no effect"),
        ({"model": SMALL, "patch_size": 4}, "a configuration has its own"),
        ({"model": SMALL, "in_channels": 0}, "in_channels must be at least 1, given 0"),
        ({"model": SMALL, "num_classes": 0}, "num_classes must be at least 1, given 0"),
        ({"model": SMALL, "image_size": 0}, "image_size must be positive, given 0"),
        ({"model": SMALL, "image_size": (8, 7)}, "patch_size 2 does not divide the image width 7"),
        ({"model": "vit_tiny_16", "patch_size": 0}, "patch_size must be at least 1, given 0"),
        ({"model": "resnet18", "image_size": 7}, "7x7 pixels are smaller than the stride 8"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_model(**{"image_size": 8, **arguments})


# ---- runs ----


def test_the_loss_of_a_seeded_run_is_what_it_was(tiny_recipe):
    """A change of these numbers means that every result measured before no longer holds.

    Without dropout, whose draws differ between CPU makes, and from weights that torch does not draw: how it cuts a
    normal distribution has changed between 2.11 and 2.15.
    """
    recipe = replace(tiny_recipe(steps=3, log_every=1), data=DataConfig(validation=0.0, test=0.0))
    run = Run(replace(recipe, model=replace(recipe.model, dropout=0.0, drop_path=0.0)), cpu=True)
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for parameter in (p for p in run.net.parameters() if p.ndim > 1):
            parameter.copy_(torch.from_numpy(rng.normal(0.0, 0.2, parameter.shape)))
    result = run.fit()
    assert result["history"]["loss"] == pytest.approx([2.5608168, 2.3427501, 2.4768901], rel=1e-4)
    assert result["params"] == 7258


@pytest.mark.parametrize(
    "model",
    [
        replace(SMALL, embed_dim=32, attention=("gpsa", "gpsa", "mhsa"), class_token_layer=2),
        replace(SMALL, tokenizer=ConvConfig(channels=(16,), strides=(2,)), position="sincos2d", pooling="mean"),
        ResNetConfig(width=8, depths=(1, 1)),
    ],
    ids=["convit", "convolutions", "resnet"],
)
def test_a_run_learns_the_digits(model):
    recipe = Recipe(
        name="learn",
        model=model,
        optim=AdamWConfig(lr=5e-3),
        train=TrainConfig(steps=60, batch_size=64, log_every=20),
    )
    result = Run(recipe, cpu=True).fit()
    loss = result["history"]["loss"]
    assert loss[-1] < 0.8 * loss[0]
    assert result["test"]["label"]["accuracy"] > 0.3  # chance is 0.1


def test_the_result_says_everything(tiny_recipe, tmp_path):
    run = Run(tiny_recipe(), RunFolder(tmp_path, to_yaml(tiny_recipe())), command="hybridvit train x.py", cpu=True)
    assert list(tmp_path.iterdir()) == []  # nothing is written before the start
    result = run.fit()
    assert result == json.loads((tmp_path / "result.json").read_text())
    expected = {"recipe": "tiny", "model": "vit", "dataset": "digits", "seed": 0, "steps": 10, "image_size": [8, 8]}
    expected |= {"train_images": 240, "validation_images": 60, "test_images": 360, "command": "hybridvit train x.py"}
    assert {key: result[key] for key in expected} == expected
    assert result["params"] == sum(p.numel() for p in run.net.parameters())
    assert set(result["seconds"]) == {"train", "compile", "total"}
    assert 0 < result["seconds"]["train"] <= result["seconds"]["total"]
    assert {"test", "validation", "device", "versions", "revision"} <= set(result)
    assert result["selected_step"] in (4, 8, 10)
    assert result["history"]["steps"] == [2, 4, 6, 8, 10]
    gates = result["history"]["gates"]
    assert np.shape(gates) == (6, 2, 4)  # the start and five logged steps, two GPSA layers, four heads
    np.testing.assert_allclose(gates[0], 0.7310586, atol=1e-6)


def test_the_test_score_is_that_of_the_selected_weights(tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    result = Run(recipe, RunFolder(tmp_path, to_yaml(recipe)), cpu=True).fit()
    run = Run(recipe, cpu=True)
    run.net.load_state_dict(LoadedRun(tmp_path).net.state_dict())
    run.net.eval()
    hits = [(run.net(batch.images)["label"].argmax(1) == batch.targets["label"]).float() for batch in run.test]
    assert torch.cat(hits).mean().item() == pytest.approx(result["test"]["label"]["accuracy"])


def test_the_seed_decides_start_values_and_the_training_set_decides_normalisation(tiny_recipe):
    first, same, other = (Run(tiny_recipe(seed=seed), cpu=True) for seed in (0, 0, 1))
    assert torch.equal(first.net.backbone.prefix, same.net.backbone.prefix)
    assert not torch.equal(first.net.backbone.prefix, other.net.backbone.prefix)
    pixels = first.splits.train.views["image"] / 255
    assert first.data.normalisation["image"].mean == pytest.approx((pixels.mean(),))
    assert first.data.normalisation["image"].std == pytest.approx((pixels.std(),))


def test_unlabelled_images_change_nothing_but_the_batch(tmp_path):
    """A run on a file with missing labels works, and its accuracy counts the labelled images only."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    pixels = (labels[:, None, None] * 100 + rng.integers(0, 50, (90, 4, 6))).astype(np.uint8)
    labels[::3] = -1
    np.savez(tmp_path / "set.npz", train_images=pixels, train_labels=labels)
    recipe = Recipe(
        name="missing",
        model=replace(SMALL, pooling="mean"),
        data=DataConfig(root=str(tmp_path / "set.npz")),
        train=TrainConfig(steps=30, batch_size=32),
        optim=AdamWConfig(lr=5e-3),
    )
    run = Run(recipe, cpu=True)
    assert run.splits.columns["label"].names == ("0", "1", "2")
    assert (run.splits.train.targets["label"] == -1).any()
    assert run.fit()["test"]["label"]["accuracy"] > 0.9


# ---- reading a run back ----


@pytest.fixture
def trained(tiny_recipe, tmp_path):
    recipe = tiny_recipe()
    return Run(recipe, RunFolder(tmp_path / "run", to_yaml(recipe)), cpu=True).fit(), tmp_path / "run"


def test_a_run_read_back_scores_as_it_did(trained):
    result, path = trained
    back = LoadedRun(path)
    assert back.checkpoint.name == "best"
    assert not back.net.training
    for split in ("test", "validation"):
        scores, images = back.evaluate(split)
        assert scores == {"label": {"accuracy": pytest.approx(result[split]["label"]["accuracy"])}}
        assert images == result[f"{split}_images"]


def test_a_run_read_back_predicts_from_files(trained, tmp_path):
    back = LoadedRun(trained[1])
    digits = np.round(load_digits().images[:3] * (255 / 16)).astype(np.uint8)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, digit in zip(paths, digits, strict=True):
        Image.fromarray(digit).save(path)
    rows = back.predict(paths)
    logits = back.net(back.data.normalisation["image"](torch.from_numpy(digits[:, None])))["label"]
    assert [row["image"] for row in rows] == [str(path) for path in paths]
    assert [row["label"]["class"] for row in rows] == [str(i) for i in logits.argmax(1).tolist()]
    assert [row["label"]["probability"] for row in rows] == pytest.approx(logits.softmax(1).amax(1).tolist())
    assert back.predict([paths[2]] * 300)[299]["label"] == pytest.approx(rows[2]["label"])
    with pytest.raises(ValueError, match=r"no.png cannot be read as an image"):
        back.predict([tmp_path / "no.png"])


def test_another_checkpoint_can_be_chosen(trained):
    path = trained[1]
    assert LoadedRun(path, "step_0000008").checkpoint == path / "checkpoints/step_0000008"
    with pytest.raises(ValueError, match="has no checkpoint 'step_0000009': did you mean"):
        LoadedRun(path, "step_0000009")


def test_a_corrupt_checkpoint_is_named_and_another_offered(trained):
    weights = trained[1] / "checkpoints/best/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"best/.* is corrupt.*step_0000010 is whole: choose it with --checkpoint"):
        LoadedRun(trained[1])


def test_a_folder_that_is_no_run_is_refused(trained, tmp_path):
    with pytest.raises(ValueError, match=r"is not a run folder: it has no recipe.yaml"):
        LoadedRun(tmp_path)
    for folder in list((trained[1] / "checkpoints").iterdir()):
        folder.rename(tmp_path / folder.name)
    resume = f"has no checkpoint yet: resume the run with hybridvit train {trained[1]}/recipe.yaml --out {trained[1]}"
    with pytest.raises(ValueError, match=resume):
        LoadedRun(trained[1])


def test_the_command_that_resumes_a_run_without_a_checkpoint_does(trained, tmp_path):
    _, path = trained
    expected = (path / "metrics.jsonl").read_text().count("\n")
    (path / "result.json").unlink()
    shutil.rmtree(path / "checkpoints")
    with pytest.raises(ValueError, match="has no checkpoint yet") as refused:
        load_run(path)
    _, *words = shlex.split(str(refused.value).partition(": resume the run with ")[2])
    assert main(words) == DONE
    assert (path / "metrics.jsonl").read_text().count("\n") == expected
    assert load_run(path).evaluate("test")[1] > 0


def test_a_run_in_ten_lines_on_arrays(tmp_path):
    """From arrays to a folder that predicts; the path may be text."""
    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)
    splits = Splits.from_arrays(images, {"digit": digits.target, "ink": digits.images.mean((1, 2))})
    tasks = {"digit": ClassificationConfig(target="digit"), "ink": RegressionConfig(target="ink")}
    train = TrainConfig(steps=8, batch_size=16)
    recipe = Recipe(name="arrays", model=SMALL, tasks=tasks, train=train)
    result = Run(recipe, str(tmp_path / "run"), splits=splits).fit()
    assert set(result["test"]) == {"digit", "ink"}
    rows = load_run(str(tmp_path / "run")).predict(images[:3, None])
    assert [row["image"] for row in rows] == [0, 1, 2]
    assert set(rows[0]) == {"image", "digit", "ink"}


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (
            {"x": ClassificationConfig(target="digt")},
            "arrays has no target 'digt', which a task reads: did you mean digit",
        ),
        (
            {"x": RegressionConfig(target="digit")},
            "target 'digit' of arrays holds class, and a task reads it as numbers",
        ),
    ],
)
def test_splits_without_what_a_task_reads_are_refused(tasks, message):
    digits = load_digits()
    splits = Splits.from_arrays(digits.images / 16, {"digit": digits.target})
    with pytest.raises(ValueError, match=message):
        Run(Recipe(name="arrays", model=SMALL, tasks=tasks), cpu=True, splits=splits)
