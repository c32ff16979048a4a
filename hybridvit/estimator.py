"""Image classification as a scikit-learn estimator."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from hybridvit.backbones import ResNetConfig, StagesConfig, ViTConfig
from hybridvit.backbones.model_kinds import named_model
from hybridvit.data.array_images import as_images, shape_text
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.load import DataConfig
from hybridvit.data.samples import ONE_VIEW, Column, Splits
from hybridvit.recipe import ModelConfig, Recipe
from hybridvit.runs.run import Run
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.kinds import OptimConfig
from hybridvit.training.optimisers.muon import MuonConfig

MAX_GRID = 16  # tokens along a side of the default model's grid
EMA_STEPS = 100  # steps that the weights are averaged over, or a tenth of a shorter run


@dataclass(eq=False, repr=False)
class HybridViTClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A scikit-learn classifier of images in arrays: ``fit``, ``predict``, ``predict_proba``, ``score``.

    Images ``X`` are an array ``[n, height, width]`` (grey), ``[n, height, width, channels]`` or
    ``[n, channels, height, width]``, of uint8 or of floats in [0, 1], which are rounded to 8 bits. Labels ``y [n]`` are
    any class labels that scikit-learn takes. ``fit`` trains by a recipe and keeps it as ``recipe_``.

    Args:
        model: a model's name, as in ``hv.list_models()``, or its configuration. None: a hybrid for small data, ResNet
            stages and one attention block, with more stages for larger images.
        steps: number of updates.
        batch_size: images in an update.
        optim: optimiser and schedule. None: Muon with a learning rate of 2e-3, and of 0.04 for weight matrices.
        augment: augmentation of the training images. None: random crops that shift by up to an eighth, and horizontal
            flips. ``AugmentConfig()`` is no augmentation; ``AugmentConfig(crop_padding=1)`` does not flip, as digits
            and letters need.
        validation: share of the training images on which the best step is selected; 0: the last step counts.
        label_smoothing: share of the target that is spread evenly over all classes.
        random_state: seed of everything, at least 0.
        device: "auto" for a GPU if there is one, or "cpu".

    Attributes:
        classes_: the sorted labels ``[k]``.
        recipe_: the recipe of the run; its ``data`` is not used, as the images are those of ``fit``.
        result_: the measurements of the run: seconds, number of parameters, losses.
        net_: the trained model, from normalised images ``[b, c, h, w]`` to ``{"label": logits [b, k]}``.
    """

    model: str | ModelConfig | None = None
    _: KW_ONLY
    steps: int = 1000
    batch_size: int = 32
    optim: OptimConfig | None = None
    augment: AugmentConfig | None = None
    validation: float = 0.0
    label_smoothing: float = 0.1
    random_state: int = 0
    device: str = "auto"

    def fit(self, X: ArrayLike, y: ArrayLike) -> HybridViTClassifier:
        """Trains a new model.

        Raises:
            ValueError: images, labels and settings do not fit together.
        """
        images, labels = as_images(X), np.asarray(y)
        if labels.shape != (len(images),):
            raise ValueError(f"y must be a label for each of the {len(images)} images, given the shape {labels.shape}")
        if self.device not in ("auto", "cpu"):
            raise ValueError(f"device must be 'auto' or 'cpu', given {self.device!r}")
        self.classes_, index = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must hold at least two classes, given {len(self.classes_)}: {self.classes_.tolist()}")
        self.recipe_ = self._recipe((images.shape[2], images.shape[3]))
        splits = Splits.from_arrays(
            X,
            index,
            validation=self.validation,
            test=None,
            columns={"label": Column("class", tuple(str(name) for name in self.classes_))},
            seed=self.random_state,
        )
        run = Run(self.recipe_, cpu=self.device == "cpu", splits=splits)
        self.result_ = run.fit()
        self.net_ = run.trainer.evaluated.eval().requires_grad_(False)
        self._data = run.data
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Probability of each of ``classes_`` for each image, ``[n, k]``.

        Raises:
            ValueError: the images are of another size or number of channels than those of ``fit``.
        """
        check_is_fitted(self)
        images = as_images(X)
        shape = self._data.shapes[ONE_VIEW]
        if images.shape[1:] != shape:
            raise ValueError(f"images must be {shape_text(shape)} as in fit, given {shape_text(images.shape[1:])}")
        device, size = next(self.net_.parameters()).device, self._data.evaluation_batch
        normalise = self._data.normalisation[ONE_VIEW]
        parts = [np.zeros((0, len(self.classes_)))]
        with torch.no_grad():
            for start in range(0, len(images), size):
                pixels = torch.from_numpy(images[start : start + size]).to(device)
                parts.append(self.net_(normalise(pixels))["label"].double().softmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most likely class of each image, ``[n]``."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def _recipe(self, size: tuple[int, int]) -> Recipe:
        model = default_model(size) if self.model is None else self.model
        shift = max(min(size) // 8, 1)
        return Recipe(
            name="estimator",
            model=named_model(model),
            data=DataConfig(validation=self.validation, test=0.0),
            augment=self.augment or AugmentConfig(crop_padding=shift, crop_fill="reflect", flip=True),
            tasks={"label": ClassificationConfig(label_smoothing=self.label_smoothing)},
            optim=self.optim or MuonConfig(lr=2e-3, muon_lr=0.04, beta2=0.99),
            train=TrainConfig(
                steps=self.steps,
                batch_size=self.batch_size,
                ema=1 - 1 / max(min(EMA_STEPS, self.steps // 10), 2),
                log_every=max(self.steps // 20, 1),
                evaluate_every=max(self.steps // 10, 1),
            ),
            seed=self.random_state,
            whitening_init=self.model is None,
        )


def default_model(size: tuple[int, int]) -> ViTConfig:
    """A hybrid for images of this size: ResNet stages, which halve the map from the second on, and an attention block.

    The model of ``recipes/cifar10_5k_laptop.py``. Only images of 32 pixels or more are pooled in the stem.
    """
    pooled = min(size) >= 2 * MAX_GRID
    side, stages = max(size) // (2 if pooled else 1), 1
    while side > MAX_GRID or (pooled and stages < 2):
        side, stages = side // 2, stages + 1
    cnn = ResNetConfig(depths=(1,) * stages, width=64, stem="pool" if pooled else "small")
    return ViTConfig(
        embed_dim=128,
        depth=1,
        num_heads=4,
        mlp_ratio=2.0,
        tokenizer=StagesConfig(cnn=cnn),
        pooling="mean",
        layer_scale=0.1,
    )
