"""The scikit-learn estimator: what it learns, which images it takes, and how it behaves among scikit-learn's tools."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import hybridvit as hv
from hybridvit.backbones import PatchConfig, ResNetConfig, ViTConfig
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.estimator import as_images, default_model
from hybridvit.models import create_backbone
from hybridvit.runs.run import Run
from hybridvit.training.optimisers.kinds import AdamWConfig

TINY = ViTConfig(embed_dim=16, depth=1, num_heads=2, tokenizer=PatchConfig(patch_size=2), pooling="mean")
CNN = ResNetConfig(depths=(1, 1), width=8)
NOTHING = AugmentConfig()
RNG = np.random.default_rng(0)


def digits():
    """Grey images ``[1797, 8, 8]`` in [0, 1], and labels that are words."""
    words = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
    images, labels = load_digits(return_X_y=True)
    return images.reshape(-1, 8, 8) / 16, words[labels]


def quick(model=TINY, steps=3, **settings):
    return hv.HybridViTClassifier(model, steps=steps, **{"augment": NOTHING, "device": "cpu", **settings})


@pytest.fixture(scope="module")
def fitted():
    images, labels = digits()
    return quick(CNN, steps=120, batch_size=48).fit(images[:1200], labels[:1200])


def test_it_learns_digits(fitted):
    images, labels = digits()
    assert fitted.score(images[1200:], labels[1200:]) > 0.8
    assert fitted.classes_.tolist() == sorted(set(labels))
    probabilities = fitted.predict_proba(images[1200:])
    assert probabilities.shape == (597, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-9)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(images[1200:])).all()
    assert fitted.result_["params"] == sum(p.numel() for p in fitted.net_.parameters())
    assert fitted.result_["train_images"] == 1200


def test_its_probabilities_are_the_nets(fitted):
    images = digits()[0][:7]
    pixels = torch.from_numpy(np.rint(images * 255))[:, None]
    train = np.rint(digits()[0][:1200] * 255) / 255
    normalised = ((pixels / 255 - train.mean()) / train.std()).float()
    expected = fitted.net_(normalised)["label"].double().softmax(dim=1)
    np.testing.assert_allclose(fitted.predict_proba(images), expected, rtol=1e-4)


def test_every_layout_is_the_same_images():
    grey, colour = RNG.integers(0, 256, (5, 7, 11), np.uint8), RNG.integers(0, 256, (5, 3, 7, 11), np.uint8)
    for layout in (grey, grey[..., None], grey[:, None], grey / 255, torch.from_numpy(grey)):
        assert np.array_equal(as_images(layout), grey[:, None])
    for layout in (colour, colour.transpose(0, 2, 3, 1), (colour / 255).astype(np.float32)):
        assert np.array_equal(as_images(layout), colour)
    assert as_images(colour.transpose(0, 2, 3, 1)).flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (np.zeros((4, 64)), r"images must be \[n, h, w\], \[n, h, w, c\] or \[n, c, h, w\], given 2 axes \[4, 64\]"),
        (np.zeros((4, 8, 8, 9)), r"images of 1 to 4 channels are expected, given \[4, 8, 8, 9\]"),
        (
            np.full((4, 8, 8), 255.0),
            r"must lie in \[0, 1\], given 255 to 255 in item 0: leave out Normalize",
        ),
        (np.full((4, 8, 8), -0.1), r"must lie in \[0, 1\], given -0.1 to -0.1"),
        (np.full((4, 8, 8), np.nan), r"must lie in \[0, 1\], given nan to nan"),
        (np.zeros((4, 8, 8), np.int64), "must be uint8, or floats in .* given int64"),
    ],
)
def test_what_is_no_images_is_refused(images, says):
    with pytest.raises(ValueError, match=says):
        as_images(images)


@pytest.mark.parametrize(
    ("settings", "labels", "says"),
    [
        ({}, [0, 1, 2], r"a label for each of the 4 images, given the shape \(3,\)"),
        ({}, [1, 1, 1, 1], r"at least two classes, given 1: \[1\]"),
        ({"device": "gpu"}, [0, 1, 0, 1], "device must be 'auto' or 'cpu', given 'gpu'"),
        ({"validation": 1.0}, [0, 1, 0, 1], "validation must be below 1, given 1.0"),
        ({"validation": 0.9}, [0, 1, 0, 1], "validation 0.9 leaves none of 4 images"),
        ({"model": "convit_tyni"}, [0, 1, 0, 1], "did you mean convit_tiny"),
        ({"steps": 0}, [0, 1, 0, 1], "steps must be at least 1, given 0"),
    ],
)
def test_what_does_not_fit_is_refused(settings, labels, says):
    with pytest.raises(ValueError, match=says):
        quick(**settings).fit(np.zeros((4, 8, 8), np.uint8), labels)


def test_other_images_than_in_fit_are_refused(fitted):
    with pytest.raises(ValueError, match="images must be 1 channel of 8x8 pixels as in fit, given 3 channels of 8x9"):
        fitted.predict(np.zeros((2, 8, 9, 3)))
    with pytest.raises(NotFittedError):
        quick().predict(np.zeros((2, 8, 8)))
    assert fitted.predict(np.zeros((0, 8, 8))).shape == (0,)


def test_it_is_a_function_of_its_random_state():
    images, labels = digits()
    first, again, other = (
        quick(random_state=seed, augment=None).fit(images[:99], labels[:99]).predict_proba(images) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_the_best_step_is_chosen_on_validation_images():
    images, labels = digits()
    made = quick(steps=10, validation=0.25).fit(images[:200], labels[:200])
    assert made.result_["train_images"] == 150
    assert made.result_["validation_images"] == 50
    assert made.result_["selected_step"] in range(1, 11)


def test_scikit_learn_treats_it_as_its_own(fitted):
    images, labels = digits()
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "net_")
    with pytest.raises(ValueError, match="Invalid parameter 'learning_rate'"):
        quick().set_params(learning_rate=1)
    scores = cross_val_score(quick(), images[:120], labels[:120], cv=3)
    assert scores.shape == (3,)
    search = GridSearchCV(quick(steps=1), {"optim": [AdamWConfig(lr=1e-9), AdamWConfig(lr=1e-2)]}, cv=2)
    search.fit(images[:120], labels[:120])
    assert set(search.best_params_) == {"optim"}
    scaled = make_pipeline(FunctionTransformer(lambda x: x / 16), quick()).fit(images[:50] * 16, labels[:50])
    assert scaled.predict(images[:5] * 16).shape == (5,)
    back = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(back.predict_proba(images[:9]), fitted.predict_proba(images[:9]))


@pytest.mark.parametrize("size", [(8, 8), (17, 9), (28, 28), (32, 32), (64, 48), (100, 75), (224, 224)])
def test_the_default_model_has_few_tokens_whatever_the_size(size):
    rows, columns = create_backbone(default_model(size), size).spec.grid
    assert 4 <= max(rows, columns) <= 16


def test_by_default_it_is_the_laptop_recipe_in_short(monkeypatch):
    seen = []
    monkeypatch.setattr(Run, "fit", lambda run: seen.append(run) or {})
    made = hv.HybridViTClassifier(device="cpu").fit(RNG.integers(0, 256, (9, 32, 32, 3), np.uint8), np.arange(9))
    assert seen[0].recipe == made.recipe_
    assert seen[0].net.backbone.spec.grid == (8, 8)
    assert made.recipe_.whitening_init
    assert made.recipe_.optim.kind == "muon"
    assert (made.recipe_.augment.crop_padding, made.recipe_.augment.flip) == (4, True)
