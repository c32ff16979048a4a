"""What all tests share: a fixed seed, one thread, the CPU unless asked otherwise, and builders of small things."""

import os

import pytest
import torch

torch.set_num_threads(1)  # the tensors are tiny: more threads wait for each other, worst of all on a busy machine


def pytest_addoption(parser):
    parser.addoption("--gpu", action="store_true", help="tests/test_devices.py on the GPU too; else it stays hidden")


def pytest_configure(config):
    """Numbers in tests are those of a CPU, so a GPU is hidden from them and from what they start."""
    if not config.getoption("--gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch):
    """Checkpoints of tests need not survive a power cut, and a busy disk takes long to promise that."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


@pytest.fixture
def randomise():
    """Fills every parameter with noise, so that no start value hides a fault."""

    def fill(module, scale=0.3):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(std=scale)
        return module

    return fill


@pytest.fixture(scope="session")
def tiny_model():
    """A ConViT with every kind of randomness, on 4x4 patches of the digits."""
    from hybridvit.backbones import PatchConfig, ViTConfig

    return ViTConfig(
        embed_dim=16,
        depth=3,
        num_heads=4,
        mlp_ratio=2.0,
        tokenizer=PatchConfig(patch_size=2),
        attention=("gpsa", "gpsa", "mhsa"),
        class_token_layer=2,
        dropout=0.1,
        drop_path=0.1,
    )


@pytest.fixture(scope="session")
def tiny_recipe(tiny_model):
    """A recipe on 300 digits; keyword arguments go to its train section."""
    from hybridvit.data.augment.transforms import AugmentConfig
    from hybridvit.data.load import DataConfig
    from hybridvit.recipe import Recipe
    from hybridvit.training.engine import TrainConfig

    def recipe(seed=0, **train):
        settings = {"steps": 10, "batch_size": 16, "ema": 0.9, "log_every": 2, "evaluate_every": 4, **train}
        return Recipe(
            name="tiny",
            model=tiny_model,
            data=DataConfig(train_images=300),
            augment=AugmentConfig(crop_padding=1),
            train=TrainConfig(**settings),
            seed=seed,
        )

    return recipe
