"""Heads tuned, added and taken off: the rest of a run stays as it was, bit for bit."""

from dataclasses import replace

import pytest
import torch

from hybridvit.cli import DONE, WRONG, main
from hybridvit.config import to_yaml
from hybridvit.data.load import DataConfig
from hybridvit.hydra.feature_cache import FeatureCache
from hybridvit.recipe import HeadFinetuneConfig
from hybridvit.runs.cached_features import write_features
from hybridvit.runs.finetune_head import HeadFinetune
from hybridvit.runs.loaded_run import LoadedRun
from hybridvit.runs.run import Run
from hybridvit.runs.stored_heads import remove_head
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.regression import RegressionConfig
from hybridvit.tasks.segmentation import SegmentationConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.kinds import AdamWConfig
from hybridvit.training.run_folder import RunFolder

TASKS = {
    "digit": ClassificationConfig(target="label"),
    "ink": RegressionConfig(target="ink"),
    "strokes": SegmentationConfig(target="strokes", width=8),
}
SHORT = TrainConfig(steps=12, batch_size=32, precision="fp32", log_every=4, evaluate_every=6)


@pytest.fixture
def run(tiny_recipe, tmp_path):
    recipe = replace(tiny_recipe(), tasks=TASKS, data=DataConfig(dataset="digits", train_images=300))
    Run(recipe, RunFolder(tmp_path / "run", to_yaml(recipe)), cpu=True).fit()
    return tmp_path / "run"


def tune(run, name, head, **settings):
    config = HeadFinetuneConfig(head=head, train=SHORT, optim=AdamWConfig(lr=1e-2), **settings)
    return HeadFinetune(LoadedRun(run), name, config).fit()


def cache_folders(run):
    return sorted((run / "features").iterdir())


def outputs(run):
    images = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return LoadedRun(run).net(images)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", list(TASKS))
def test_tuning_one_head_changes_no_bit_of_the_others(run, name):
    before, on_disk = outputs(run), files(run)
    tune(run, name, TASKS[name])
    after = outputs(run)
    assert after.keys() == before.keys()
    for other in TASKS:
        assert torch.equal(after[other], before[other]) == (other != name)
    assert {path: content for path, content in files(run).items() if path in on_disk} == on_disk


def test_a_head_that_goes_on_starts_where_the_run_left_it_and_a_fresh_one_does_not(run):
    start = LoadedRun(run).net.heads["digit"].state_dict()
    still = HeadFinetuneConfig(head=TASKS["digit"], train=replace(SHORT, steps=1), optim=AdamWConfig(lr=1e-12))
    HeadFinetune(LoadedRun(run), "digit", still).fit()
    tuned = LoadedRun(run).net.heads["digit"].state_dict()
    assert all(torch.allclose(tuned[key], value, atol=1e-6) for key, value in start.items())
    HeadFinetune(LoadedRun(run), "digit", replace(still, fresh=True)).fit()
    assert not torch.allclose(LoadedRun(run).net.heads["digit"].fc.weight, start["fc.weight"], atol=1e-3)


def test_tuning_learns_what_the_trunk_would_have_shown(run):
    """A step from the cache is the step through the frozen trunk, on the same samples."""
    trained = LoadedRun(run)
    tuning = HeadFinetune(
        trained,
        "digit",
        HeadFinetuneConfig(head=TASKS["digit"], train=replace(SHORT, steps=1), optim=AdamWConfig(lr=1e-2)),
    )
    tuning.fit()
    images = trained.data.normalisation["image"](torch.from_numpy(tuning.splits.train.views["image"]))
    with torch.no_grad():
        through = trained.net.features(images)
    (folder,) = cache_folders(run)
    cached = FeatureCache(folder / "train").read(slice(0, len(images)), torch.device("cpu"))
    torch.testing.assert_close(cached.tokens, through.tokens, rtol=1e-5, atol=1e-5)
    assert len(cached.tokens) == 240


def test_a_new_head_is_added_and_scores_on_the_same_splits(run):
    before = outputs(run)
    result = tune(run, "even", ClassificationConfig(target="even"))
    assert set(result["test"]["even"]) == {"accuracy"}
    assert result["test_images"] == 360
    after = outputs(run)
    assert list(after) == [*before, "even"]
    assert all(torch.equal(after[name], before[name]) for name in before)
    scores, images = LoadedRun(run).evaluate("test")
    assert scores["even"] == pytest.approx(result["test"]["even"])
    assert images == 360
    assert (
        LoadedRun(run).load().test.targets["label"] == LoadedRun(run, original=True).load().test.targets["label"]
    ).all()


def test_a_head_can_be_of_another_kind_and_come_off_and_back(run):
    tune(run, "ink", RegressionConfig(target="ink", hidden=7))
    assert LoadedRun(run).net.heads["ink"].fc.in_features == 7
    remove_head(run, "ink", list(TASKS))
    assert set(outputs(run)) == {"digit", "strokes"}
    assert set(LoadedRun(run, original=True).tasks) == set(TASKS)
    tune(run, "ink", TASKS["ink"])
    assert set(outputs(run)) == set(TASKS)


def test_the_last_head_stays(run):
    with pytest.raises(ValueError, match="digit is the only head of"):
        remove_head(run, "digit", ["digit"])


def test_the_same_tuning_again_gives_its_result_and_another_is_kept_beside(run):
    first = tune(run, "ink", TASKS["ink"])
    assert tune(run, "ink", TASKS["ink"]) == first
    tune(run, "ink", TASKS["ink"], seed=1)
    assert (run / "heads/.ink.1/result.json").is_file()
    assert len(cache_folders(run)) == 1  # the features are written once


def test_all_heads_share_one_cache_that_grows_with_what_they_need(run):
    written = []

    def told(part, done, total):
        written.append(part)

    def tuned(name):
        config = HeadFinetuneConfig(head=TASKS[name], train=replace(SHORT, steps=1))
        HeadFinetune(LoadedRun(run), name, config).fit(on_features=told)
        return len(written)

    first = tuned("digit")
    assert first > 0
    assert tuned("ink") == first  # needs no more
    assert tuned("strokes") > first  # needs a map
    everything = len(written)
    trained = LoadedRun(run)
    write_features(trained, trained.load(), trained.net, told)
    assert len(written) == everything
    (folder,) = cache_folders(run)
    assert not FeatureCache(folder / "train", strides=()).read(slice(0, 2), torch.device("cpu")).maps
    with pytest.raises(ValueError, match=r"holds views \[\] and maps of strides \[2\]"):
        FeatureCache(folder / "train", strides=(2, 4))


def test_features_of_other_images_are_not_used(run):
    trained = LoadedRun(run)
    splits = trained.load()
    write_features(trained, splits, trained.net)
    pixels = splits.train.views["image"].copy()
    pixels[0] = 255 - pixels[0]
    write_features(trained, replace(splits, train=replace(splits.train, views={"image": pixels})), trained.net)
    assert len(cache_folders(run)) == 2


def test_a_tuning_that_was_interrupted_goes_on(run):
    class Stop(Exception):
        pass

    def stop(progress):
        if progress.step == 8:
            raise Stop

    config = HeadFinetuneConfig(head=TASKS["ink"], train=SHORT, optim=AdamWConfig(lr=1e-2))
    before = outputs(run)
    with pytest.raises(Stop):
        HeadFinetune(LoadedRun(run), "ink", config).fit(on_step=stop)
    assert torch.equal(outputs(run)["ink"], before["ink"])  # an unfinished head is not used
    steps = []
    HeadFinetune(LoadedRun(run), "ink", config).fit(on_step=lambda progress: steps.append(progress.step))
    assert steps == [7, 8, 9, 10, 11, 12]


def test_a_head_is_not_used_on_another_trunk(run):
    tune(run, "ink", TASKS["ink"])
    best = LoadedRun(run).checkpoint.name
    with pytest.raises(ValueError, match=f"trained on another trunk than that of .*: use the checkpoint {best}"):
        LoadedRun(run, "step_0000008" if best != "step_0000008" else "step_0000010")


def test_a_column_that_is_not_there_is_refused_with_what_there_is(run):
    with pytest.raises(ValueError, match="digits has no target column 'tilt'; it has label, even"):
        tune(run, "tilt", RegressionConfig(target="tilt"))
    with pytest.raises(ValueError, match="column 'ink' holds numbers for one task, class for another"):
        tune(run, "ink2", ClassificationConfig(target="ink"))


def test_an_exported_run_is_what_it_was_without_what_training_needs(run, tmp_path, capsys):
    """Also with a head that was tuned, one that was added and one that was taken off."""
    tune(run, "digit", TASKS["digit"])
    tune(run, "even", ClassificationConfig(target="even"))
    remove_head(run, "strokes", list(TASKS))
    before, whole = outputs(run), files(run)
    assert main(["export", str(run), "--out", str(tmp_path / "slim")]) == DONE
    assert "checkpoint best, " in capsys.readouterr().out
    assert files(run) == whole
    after = outputs(tmp_path / "slim")
    assert after.keys() == before.keys() == {"digit", "ink", "even"}
    for name, logits in before.items():
        assert torch.equal(after[name], logits)
    slim = files(tmp_path / "slim")
    assert not any(path.name == "training.safetensors" for path in slim)
    assert sum(map(len, slim.values())) < 0.5 * sum(map(len, whole.values()))
    assert LoadedRun(tmp_path / "slim").evaluate("test") == LoadedRun(run).evaluate("test")
    assert main(["export", str(run), "--out", str(tmp_path / "slim")]) == WRONG
    assert "slim is not empty: choose another --out" in capsys.readouterr().err
    assert files(tmp_path / "slim") == slim
    assert main(["export", str(run), "--out", str(tmp_path / "other"), "--checkpoint", "bst"]) == WRONG
    assert "has no checkpoint 'bst': did you mean best" in capsys.readouterr().err
