"""Splits from arrays: layouts, what columns hold, missing labels, shares, and what is refused."""

import numpy as np
import pytest
import torch

from hybridvit.backbones import PatchConfig, ViTConfig
from hybridvit.data.samples import Column, Splits
from hybridvit.recipe import Recipe
from hybridvit.runs.run import Run
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.training.engine import TrainConfig

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (23, 7, 11), np.uint8)
COLOUR = RNG.integers(0, 256, (23, 3, 7, 11), np.uint8)
LABELS = np.arange(23) % 5


def whole(images, targets, **options):
    return Splits.from_arrays(images, targets, validation=None, test=None, **options)


def test_every_layout_gives_the_same_images():
    for images in (GREY, GREY[..., None], GREY[:, None], GREY / 255, torch.from_numpy(GREY), list(GREY)):
        assert np.array_equal(whole(images, LABELS).train.views["image"], GREY[:, None])
    for images in (COLOUR, COLOUR.transpose(0, 2, 3, 1), torch.from_numpy(COLOUR).float() / 255):
        assert np.array_equal(whole(images, LABELS).train.views["image"], COLOUR)


def test_the_values_say_what_a_column_holds():
    words = np.array(["ox", "ant", "bee"])[LABELS % 3]
    masks = (GREY > 200).astype(np.uint8) * 2
    splits = whole(
        GREY,
        {
            "number": LABELS,
            "text": words,
            "even": LABELS % 2 == 0,
            "size": LABELS / 3,
            "pair": RNG.random((23, 2)),
            "mask": masks,
        },
    )
    assert {name: (column.kind, column.names) for name, column in splits.columns.items()} == {
        "number": ("class", ("0", "1", "2", "3", "4")),
        "text": ("class", ("ant", "bee", "ox")),
        "even": ("class", ("0", "1")),
        "size": ("numbers", ("size",)),
        "pair": ("numbers", ("0", "1")),
        "mask": ("mask", ("0", "1", "2")),
    }
    targets = splits.train.targets
    assert targets["number"].tolist() == LABELS.tolist()
    assert targets["text"].tolist() == [{"ant": 0, "bee": 1, "ox": 2}[word] for word in words]
    assert targets["even"].tolist() == (LABELS % 2 == 0).astype(int).tolist()
    assert np.array_equal(targets["size"], (LABELS / 3).astype(np.float32)[:, None])
    assert (targets["mask"] == masks).all()
    assert [targets[name].dtype for name in ("number", "size", "mask")] == [np.int64, np.float32, np.uint8]


def test_classes_are_the_training_labels_sorted_by_value():
    splits = whole(GREY, np.array([30, 4, -1, 100, *[4] * 19]))
    assert splits.columns["label"].names == ("4", "30", "100")
    assert splits.train.targets["label"][:5].tolist() == [1, 0, -1, 2, 0]


def test_a_missing_label_is_none_minus_one_or_nan():
    lists = {
        "number": [3, None, float("nan"), -1, *[1] * 19],
        "text": ["ox", None, "", "ant", *["ox"] * 19],
        "size": [0.5, None, float("nan"), 2, *[1.0] * 19],
        "mask": [None, *(GREY[1:] % 3)],
    }
    targets = whole(GREY, lists).train.targets
    assert targets["number"][:5].tolist() == [1, -1, -1, -1, 0]
    assert targets["text"][:5].tolist() == [1, -1, -1, 0, 1]
    assert np.isnan(targets["size"][:, 0]).tolist() == [False, True, True, *[False] * 20]
    assert (targets["mask"][0] == 255).all()
    assert np.array_equal(targets["mask"][1:], GREY[1:] % 3)


def test_columns_say_what_cannot_be_inferred():
    given = {
        "label": Column("class", ("low", "high", "none of them")),
        "tags": Column("multilabel", ("a", "b", "c")),
        "eye": Column("points", ("left", "right")),
        "thing": Column("boxes", ("cat",)),
        "amount": Column("numbers", ("amount",)),
    }
    tags, points = LABELS[:, None] == np.arange(3), RNG.random((23, 2, 2))
    boxes = np.tile([0.0, 1, 2, 5, 6], (23, 1, 1))
    targets = {"label": LABELS % 3, "tags": tags, "eye": points, "thing": boxes, "amount": LABELS}
    splits = whole(GREY, targets, columns=given)
    assert splits.columns == given
    assert splits.train.targets["label"].tolist() == (LABELS % 3).tolist()
    assert np.array_equal(splits.train.targets["tags"], tags.astype(np.int64))
    assert splits.train.targets["eye"].dtype == np.float32
    assert splits.train.targets["amount"].tolist() == [[label] for label in LABELS]


def test_shares_are_stratified_by_the_first_classes_and_drawn_by_the_seed():
    images, labels = np.arange(60, dtype=np.uint8)[:, None, None] * np.ones((5, 7), np.uint8), np.arange(60) % 3
    first, again, other = (
        Splits.from_arrays(images, {"size": labels / 2, "label": labels}, validation=0.25, test=0.2, seed=seed)
        for seed in (0, 0, 1)
    )
    parts = (first.train, first.validation, first.test)
    assert [np.bincount(part.targets["label"]).tolist() for part in parts] == [[12] * 3, [4] * 3, [4] * 3]
    drawn = np.concatenate([part.views["image"][:, 0, 0, 0] for part in parts])
    assert sorted(drawn.tolist()) == list(range(60))
    for part in parts:
        assert (part.views["image"][:, 0, 0, 0] % 3 == part.targets["label"]).all()
    assert np.array_equal(first.test.views["image"], again.test.views["image"])
    assert not np.array_equal(first.test.views["image"], other.test.views["image"])


def test_splits_may_be_given_whole():
    splits = Splits.from_arrays(
        GREY[:13], LABELS[:13], validation=(GREY[13:18], LABELS[13:18]), test=(GREY[18:], [4, 3, None, 0, 0])
    )
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (13, 5, 5)
    assert splits.test.targets["label"].tolist() == [4, 3, -1, 0, 0]
    assert np.array_equal(splits.validation.views["image"][:, 0], GREY[13:18])
    mixed = Splits.from_arrays(GREY[:13], LABELS[:13], validation=0.2, test=(GREY[13:], LABELS[13:]))
    assert (len(mixed.train), len(mixed.validation), len(mixed.test)) == (10, 3, 10)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((GREY[0], LABELS), r"train: images must be \[n, h, w\], .* given 2 axes \[7, 11\]"),
        ((GREY.astype(int), LABELS), "train: images must be uint8, or floats in .* given int64"),
        ((GREY * 1.0, LABELS), r"must lie in \[0, 1\], given .* in item 0: leave out Normalize"),
        ((np.zeros((5, 3, 7, 2), np.uint8), LABELS), r"may be \[n, h, w, c\] or \[n, c, h, w\]"),
        ((GREY, LABELS[:19]), "train has 23 images, but 19 values of target 'label'"),
        ((GREY, {"label": [*LABELS[:17], -2, *LABELS[18:]]}), "'label' of train, item 17: -2 is no class"),
        ((GREY, {"a": np.full(23, np.nan)}), "target 'a' has no label in train"),
        ((GREY, {"a": [0.0] * 11 + [np.inf] * 12}), "'a' of train, item 11: inf in numbers: expected a finite number"),
        ((GREY, {"a": [[1, 2]] * 22 + [[1, 2, 3]]}), r"'a' of train: item 22 is int64 of shape \[3\], but item 0 is"),
        ((GREY, {"a": [1] * 22 + ["ox"]}), "'a' of train: item 22 is text of shape .* but item 0 is int64"),
        ((GREY, {"a": np.ones((23, 5), int)}), r"is neither classes .* columns=\{'a': hv.Column"),
        ((GREY, {"a": np.ones((23, 5, 5), np.uint8)}), r"masks \(whole numbers \[n, 7, 11\]\)"),
        ((GREY, {"a": np.where(GREY > 99, 255, 0).astype(np.uint8)}), "masks hold only 0 and 255"),
        ((GREY, {"a": [object()] * 23}), "'a' of train: targets must be whole numbers, floats or text, given object"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, says):
    with pytest.raises(ValueError, match=says) as error:
        whole(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"validation": 1.0}, r"validation must be a share in \[0, 1\) or a pair \(images, targets\), given 1.0"),
        ({"test": 0.6, "validation": 0.9}, "validation 0.9 and test 0.6 leave none of 23 images to train on"),
        ({"validation": (GREY[:, :, :5], LABELS)}, "validation images are 1 channel of 7x5 pixels, train images 1 ch"),
        ({"validation": (GREY, {"digit": LABELS})}, "validation has the targets digit, train has label"),
        ({"test": (GREY, LABELS + 3)}, "'label' of test, item 2: class '5' is in no training row"),
        ({"test": (GREY, LABELS.astype(str))}, "target 'label' of test is <U21"),
        ({"columns": {"lable": Column("class", ())}}, "columns names 'lable', which is no target: did you mean label"),
        ({"columns": {"label": Column("class", ("a", "b"))}}, "item 2: 2 in class: expected 0 to 1, or -1 for no"),
        ({"columns": {"label": Column("mask", ("a",))}}, r"mask must be whole numbers \[n, 7, 11\], given int64"),
    ],
)
def test_options_that_do_not_fit_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        Splits.from_arrays(GREY, LABELS, **{"validation": None, "test": None, **options})


def test_two_heads_are_trained_on_arrays():
    labels = np.arange(67) % 10
    images = (labels[:, None, None] * 25 + RNG.integers(0, 9, (67, 8, 8))).astype(np.uint8)
    splits = Splits.from_arrays(images, {"digit": labels, "even": labels % 2 == 0}, validation=0.2, test=0.2)
    recipe = Recipe(
        name="two_heads",
        model=ViTConfig(embed_dim=16, depth=1, num_heads=2, tokenizer=PatchConfig(patch_size=2), pooling="mean"),
        tasks={name: ClassificationConfig(target=name) for name in ("digit", "even")},
        train=TrainConfig(steps=3, batch_size=8),
    )
    run = Run(recipe, splits=splits, cpu=True)
    result = run.fit()
    assert result["dataset"] == "arrays"
    assert (result["train_images"], result["validation_images"], result["test_images"]) == (42, 11, 14)
    logits = run.net.eval()(torch.zeros(2, 1, 8, 8))
    assert {name: tuple(values.shape) for name, values in logits.items()} == {
        "digit": (2, 10),
        "even": (2, 2),
    }
