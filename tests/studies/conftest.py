"""A comparison of tasks on the digits, and results as its runs would give them."""

import numpy as np
import pytest

METRICS = {
    "label": {"accuracy": 0.9},
    "ink": {"r2": 0.8, "mae": 0.05},
    "strokes": {"miou": 0.7, "pixel_accuracy": 0.85},
    "centre": {"pck": 0.6, "distance": 0.4},
}
LOWER = {"mae", "distance"}


@pytest.fixture(scope="session")
def comparison():
    """Four kinds of tasks on two trunks with two balances, three seeds."""
    from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
    from hybridvit.hydra.balance.kinds import SumConfig, UncertaintyConfig
    from hybridvit.recipe import Recipe
    from hybridvit.studies.multitask.study import MultiTaskStudy
    from hybridvit.studies.study import LaunchConfig
    from hybridvit.tasks.classification import ClassificationConfig
    from hybridvit.tasks.keypoints import KeypointsConfig
    from hybridvit.tasks.regression import RegressionConfig
    from hybridvit.tasks.segmentation import SegmentationConfig
    from hybridvit.training.engine import TrainConfig

    vit = ViTConfig(embed_dim=12, depth=1, num_heads=4, tokenizer=PatchConfig(patch_size=2), pooling="mean")
    tasks = {
        "label": ClassificationConfig(),
        "ink": RegressionConfig(target="ink"),
        "strokes": SegmentationConfig(target="strokes", width=8),
        "centre": KeypointsConfig(target="centre", width=8),
    }
    return MultiTaskStudy(
        title="Does <one> trunk do?",
        base=Recipe(
            name="tiny", model=vit, tasks=tasks, train=TrainConfig(steps=2, batch_size=8, log_every=1, evaluate_every=1)
        ),
        trunks={"ResNet": ResNetConfig(depths=(1,), width=6), "ViT / mean": vit},
        balances={"sum": SumConfig(), "weights of their own": UncertaintyConfig()},
        seeds=3,
        launch=LaunchConfig(backend="sequential"),
    )


@pytest.fixture(scope="session")
def fake_result():
    """A function: cell -> result, a little better or worse by seed and by what else is learned."""

    def result(cell, gain=0.0):
        tasks = list(cell.recipe.tasks)
        rng = np.random.default_rng([cell.seed, len(tasks), len(cell.key)])
        factor = 1 + (gain if len(tasks) > 1 else 0.0) + 0.01 * rng.standard_normal()
        steps = [25, 50, 75, 100]
        fall = np.exp(-np.arange(4))
        losses = {task: (fall * (1 + 0.3 * rng.random())).tolist() for task in tasks}
        losses[tasks[-1]][0] = None
        test = {
            task: {name: value / factor if name in LOWER else value * factor for name, value in METRICS[task].items()}
            for task in tasks
        }
        several = {}
        if len(tasks) > 1:
            several = {"losses": losses, "validation": [], "conflicts": _conflicts(rng, tasks, (50, 100))}
        return {
            "recipe": cell.key,
            "tasks": {name: config.kind for name, config in cell.recipe.tasks.items()},
            "dataset": "digits",
            "train_images": 1437,
            "image_size": [8, 8],
            "seed": cell.seed,
            "params": 1000 + 100 * len(tasks),
            "test": test,
            "test_images": 360,
            "history": {"steps": steps, "loss": fall.tolist(), **several},
            "seconds": {"train": 2.0, "compile": 0.0, "total": 2.0 + len(tasks)},
            "device": "a machine",
            "versions": {"python": "3"},
            "revision": "abc",
        }

    return result


def _conflicts(rng, tasks, steps):
    records = []
    for step in steps:
        cosines = np.clip(0.4 * rng.standard_normal((3, len(tasks), len(tasks))), -1, 1)
        cosines = np.round((cosines + cosines.transpose(0, 2, 1)) / 2, 4).astype(object)
        cosines[0, 0, 1] = cosines[0, 1, 0] = None
        records.append(
            {"step": step, "tasks": tasks, "stages": ["stem", "stage 1", "norm"], "cosines": cosines.tolist()}
        )
    return records
