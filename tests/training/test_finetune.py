"""A recipe that starts from a checkpoint: same backbone, fresh head, layer-wise learning rates."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from hybridvit.runs.run import Run
from hybridvit.training.optimisers.kinds import AdamWConfig
from hybridvit.training.run_folder import RunFolder


@pytest.fixture
def trained(tmp_path, tiny_recipe):
    from hybridvit.config import to_yaml

    recipe = tiny_recipe(steps=3)
    Run(recipe, RunFolder(tmp_path / "run", to_yaml(recipe))).fit()
    return next((tmp_path / "run" / "checkpoints").glob("step_*")) / "weights.safetensors"


def test_backbone_starts_from_the_checkpoint_and_the_head_is_fresh(trained, tiny_recipe):
    recipe = replace(tiny_recipe(), weights=str(trained))
    net, fresh = Run(recipe).net.state_dict(), Run(tiny_recipe()).net.state_dict()
    saved = load_file(trained)
    assert set(net) == set(saved)
    for name, tensor in net.items():
        source = fresh if name.startswith("heads.") else saved
        assert torch.equal(tensor, source[name]), name
    assert not torch.equal(fresh["backbone.norm.weight"], saved["backbone.norm.weight"])


def test_layers_learn_at_their_own_rate(trained, tiny_recipe):
    recipe = replace(tiny_recipe(steps=4), weights=str(trained), optim=AdamWConfig(lr=0.01, layer_decay=0.5))
    run = Run(recipe)
    rates = {group["lr_scale"] for group in run.trainer.optimiser.param_groups}
    assert rates == {0.5**k for k in range(6)}  # three blocks: tokens, blocks, last norm, and the head
    before = {name: tensor.clone() for name, tensor in run.net.state_dict().items()}
    assert run.fit()["test"]["label"]["accuracy"] >= 0

    def moved(name):
        return (run.net.state_dict()[name] - before[name]).abs().max().item()

    assert moved("heads.label.fc.weight") > 5 * moved("backbone.tokenizer.proj.weight") > 0


def test_a_checkpoint_that_does_not_fit_is_refused_before_anything_is_written(trained, tiny_recipe, tmp_path):
    from hybridvit.config import to_yaml

    recipe = tiny_recipe()
    recipe = replace(recipe, weights=str(trained), model=replace(recipe.model, embed_dim=32))
    folder = RunFolder(tmp_path / "other", to_yaml(recipe))
    with pytest.raises(
        ValueError, match=r"does not fit the model: \d+ of another shape \(prefix \[1, 32\] given \[1, 16"
    ):
        Run(recipe, folder)
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="there is no checkpoint file"):
        Run(replace(recipe, weights=str(tmp_path / "none.pt")))


def test_the_learning_rate_in_the_metrics_is_that_of_the_head(tmp_path, tiny_recipe):
    import json

    from hybridvit.config import to_yaml

    optim = AdamWConfig(lr=0.01, layer_decay=0.5, warmup=0.0, final_lr=1.0)
    recipe = replace(tiny_recipe(steps=4), optim=optim)
    Run(recipe, RunFolder(tmp_path / "run", to_yaml(recipe))).fit()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rates = [record["lr"] for record in map(json.loads, lines) if "lr" in record]
    assert rates == [pytest.approx(0.01)] * 2
