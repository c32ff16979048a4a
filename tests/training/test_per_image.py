"""Which test images a run gets right, packed into its result."""

import numpy as np
import pytest

import hybridvit as hv
from hybridvit.training.per_image import pack, unpack


@pytest.mark.parametrize("count", [1, 7, 8, 9, 361])
def test_packed_booleans_come_back(count):
    right = np.random.default_rng(count).random(count) < 0.3
    np.testing.assert_array_equal(unpack(pack(right)), right)


@pytest.mark.parametrize("tta", [False, True])
def test_a_result_says_which_test_images_are_right(tta):
    """Of the tasks that name one class; a missing label is left out."""
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    targets = {"digit": np.arange(40) % 3, "ink": np.linspace(0, 1, 40)}
    targets["digit"][[37, 39]] = -1
    train, test = ((images[part], {k: v[part] for k, v in targets.items()}) for part in (slice(0, 30), slice(30, 40)))
    recipe = hv.Recipe(
        name="two",
        model=hv.ResNetConfig(depths=(1,), width=4),
        tasks={"digit": hv.ClassificationConfig(target="digit"), "ink": hv.RegressionConfig(target="ink")},
        train=hv.TrainConfig(steps=3, batch_size=8, precision="fp32"),
        tta=tta,
    )
    run = hv.Run(recipe, splits=hv.Splits.from_arrays(*train, validation=None, test=test))
    result = run.fit()
    assert result["test_right"].keys() == {"digit"}
    right = unpack(result["test_right"]["digit"])
    assert len(right) == 8
    assert right.mean() == pytest.approx(result["test"]["digit"]["accuracy"])
    assert result["multiply_adds"] > 0
