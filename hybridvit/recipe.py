"""What a run and a study are made of: configuration and nothing else."""

from __future__ import annotations

from dataclasses import field, fields, replace
from typing import ClassVar, Literal

from hybridvit.backbones.model_kinds import ModelConfig
from hybridvit.config import Config, NonNegativeInt
from hybridvit.data.augment.transforms import AugmentConfig
from hybridvit.data.load import DataConfig
from hybridvit.data.loaders.progressive import ProgressiveConfig
from hybridvit.data.loaders.sampling import SamplingConfig
from hybridvit.hydra.balance.base import SumConfig
from hybridvit.hydra.balance.kinds import BalanceConfig
from hybridvit.hydra.views import ViewsConfig
from hybridvit.runs.cnn_teacher_config import CNNTeacherConfig
from hybridvit.runs.pretrain_config import PretrainConfig
from hybridvit.tasks.classification import ClassificationConfig
from hybridvit.tasks.kinds import TaskConfig
from hybridvit.training.engine import TrainConfig
from hybridvit.training.optimisers.adamw import AdamWConfig
from hybridvit.training.optimisers.kinds import OptimConfig


def _one_label() -> dict[str, TaskConfig]:
    return {"label": ClassificationConfig()}


class Recipe(Config):
    """One training run.

    Attributes:
        name: what the recipe is called in result files.
        model: the backbone.
        data: images and how they are split.
        augment: what is done to training images.
        progressive: how large they are in the course of the run.
        tasks: the questions asked of every image, by the names of their heads.
        balance: how the losses of several tasks become one update of the trunk.
        sampling: how often each of several data sets is drawn from.
        views: how several cameras become one; None: every sample is one image.
        optim: optimiser and schedule.
        train: length, batch size, precision.
        seed: seed of the subset, the initialisation, the order and the augmentation.
        weights: checkpoint file that the backbone starts from, in any layout ``load_weights`` reads; the head
            is fresh. None: random initialisation.
        whitening_init: start the convolution that reads the images as the whitening transform of their windows.
        pretrain: what the backbone learns from the training images without their labels first; None: nothing.
        teacher: a small CNN that is trained on the same images first, and then followed; None: none.
        tta: report the test also with test-time augmentation, the mean prediction of each image and its horizontal
            flip.
    """

    renamed: ClassVar[dict[str, str]] = {"guide": "teacher", "test_flips": "tta", "whiten": "whitening_init"}

    name: str
    model: ModelConfig
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    progressive: ProgressiveConfig = ProgressiveConfig()
    tasks: dict[str, TaskConfig] = field(default_factory=_one_label)
    balance: BalanceConfig = SumConfig()
    sampling: SamplingConfig = SamplingConfig()
    views: ViewsConfig | None = None
    optim: OptimConfig = AdamWConfig()
    train: TrainConfig = TrainConfig()
    seed: NonNegativeInt = 0
    weights: str | None = None
    whitening_init: bool = False
    pretrain: PretrainConfig | None = None
    teacher: CNNTeacherConfig | None = None
    tta: bool = False

    def __post_init__(self) -> None:
        if self.weights is not None and self.whitening_init:
            raise ValueError(
                f"whitening_init has no effect with weights {self.weights}, which replace the initial values"
            )
        if not self.tasks:
            raise ValueError("tasks names no task: a run needs at least one head")
        for name in self.tasks:
            if not name.replace("-", "_").isidentifier():
                raise ValueError(f"a task's name is made of letters, digits, - and _, given {name!r}")


class HeadFinetuneConfig(Config):
    """One head of a trained run, trained alone on the features that the run's trunk gave.

    Attributes:
        head: what it is; another target or kind than the run's makes it a new head.
        fresh: start from random weights even where the run has this head.
        optim: optimiser and schedule.
        train: length and batch size.
        seed: seed of the initialisation and of the order.
    """

    head: TaskConfig
    fresh: bool = False
    optim: OptimConfig = AdamWConfig(lr=1e-3, weight_decay=0.01)
    train: TrainConfig = TrainConfig(steps=500, batch_size=128, precision="fp32")
    seed: NonNegativeInt = 0


class LaunchConfig(Config):
    """Where the runs of a study take place.

    Attributes:
        backend: joblib's backend: processes of this machine ("loky"), this process ("sequential"), or a
            cluster ("ray", "dask").
        workers: runs at a time; None: one for each CPU core, or all that the cluster has.
        threads: CPU threads of each run; a result depends on it only in the last bits.
        address: address of the cluster; None: the one that ray or dask finds, or a local one.
        minutes: for a machine that is ours for so long: no run begins that would not end by then if it took as long as
            the longest so far; the same command goes on with what is left. None: until all is done.
    """

    backend: Literal["loky", "sequential", "ray", "dask"] = "loky"
    workers: int | None = None
    threads: int = 1
    address: str | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ValueError(f"workers must be at least 1, given {self.workers}")
        if self.threads < 1:
            raise ValueError(f"threads must be at least 1, given {self.threads}")
        if self.minutes is not None and not self.minutes > 0:
            raise ValueError(f"minutes must be positive or None, given {self.minutes}")


class Study(Config):
    """A learning curve for each of several models, everything else held fixed.

    Attributes:
        title: the question, as the report asks it.
        base: what is held fixed; its model, data.train_images, optim.lr and seed are set for each run.
        models: the models compared, by the name the report calls them.
        reference: the model that has none of the built-in assumptions.
        train_sizes: numbers of training images; the subsets are nested and stratified.
        seeds: number of paired repetitions; a seed draws the same subset for every model.
        learning_rates: tried for each model on the validation share of the largest training size; the
            one with the best mean validation accuracy is used for all sizes, on all images.
        selection_seeds: repetitions of that trial.
        launch: where the runs take place.
    """

    title: str
    base: Recipe
    models: dict[str, ModelConfig]
    reference: str
    train_sizes: tuple[int, ...]
    seeds: int = 6
    learning_rates: tuple[float, ...] = (1e-3,)
    selection_seeds: int = 1
    launch: LaunchConfig = field(default_factory=LaunchConfig)

    def __post_init__(self) -> None:
        if self.reference not in self.models:
            raise ValueError(f"reference {self.reference!r} is none of the models {', '.join(self.models)}")
        if not self.train_sizes or min(self.train_sizes) < 1:
            raise ValueError(f"train_sizes must be positive, given {self.train_sizes}")
        if list(self.train_sizes) != sorted(set(self.train_sizes)):
            raise ValueError(f"train_sizes must rise, given {self.train_sizes}")
        if min(self.seeds, self.selection_seeds) < 1:
            raise ValueError(
                f"seeds and selection_seeds must be at least 1, given {self.seeds}, {self.selection_seeds}"
            )
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ValueError(f"learning_rates must be positive, given {self.learning_rates}")
        if len(self.learning_rates) > 1 and not self.base.data.validation:
            raise ValueError("data.validation is 0, so there is nothing to choose among learning_rates on")

    def run(self, model: str, train_size: int, seed: int, lr: float, select: bool) -> Recipe:
        """The recipe of one run; ``select``: with the validation share set apart, else on all images."""
        base = self.base
        data = replace(base.data, train_images=train_size, validation=base.data.validation if select else 0.0)
        optim = replace(base.optim, lr=lr)
        return replace(base, name=f"{base.name}/{model}", model=self.models[model], data=data, optim=optim, seed=seed)


class MultiTaskStudy(Config):
    """All tasks on one trunk, against every task alone on a trunk of the same kind.

    Attributes:
        title: the question, as the report asks it.
        base: what is held fixed; its model, balance and seed are set for each run, and its tasks are those compared.
        trunks: the trunks compared, by the name the report calls them.
        balances: the balancing methods compared, by the name the report calls them.
        seeds: number of paired repetitions.
        launch: where the runs take place.
    """

    title: str
    base: Recipe
    trunks: dict[str, ModelConfig]
    balances: dict[str, BalanceConfig] = field(default_factory=lambda: {"sum": SumConfig()})
    seeds: int = 3
    launch: LaunchConfig = field(default_factory=LaunchConfig)

    def __post_init__(self) -> None:
        if len(self.base.tasks) < 2:
            raise ValueError(f"a comparison with single tasks needs at least two, given {', '.join(self.base.tasks)}")
        if not self.trunks or not self.balances:
            raise ValueError("trunks and balances must each name at least one")
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, given {self.seeds}")

    def joint(self, trunk: str, balance: str, seed: int) -> Recipe:
        """The run of all tasks together."""
        name = f"{self.base.name}/{trunk}/{balance}"
        return replace(self._common(trunk, seed), name=name, balance=self.balances[balance])

    def single(self, trunk: str, task: str, seed: int) -> Recipe:
        """The run of one task alone, on the same samples for the same number of steps."""
        common, config = self._common(trunk, seed), self.base.tasks[task]
        hide = {column: share for column, share in common.data.hide.items() if column == config.target}
        names = {column: given for column, given in common.data.names.items() if column == config.target}
        return replace(
            common,
            name=f"{self.base.name}/{trunk}/{task} alone",
            balance=SumConfig(),
            tasks={task: config},
            data=replace(common.data, hide=hide, names=names),
        )

    def _common(self, trunk: str, seed: int) -> Recipe:
        """Without a validation share of its own: the last step counts, and nothing is selected."""
        data = replace(self.base.data, validation=0.0, stratify=self.base.data.stratify or self._strata())
        return replace(self.base, model=self.trunks[trunk], data=data, seed=seed)

    def _strata(self) -> str | None:
        """The column that the joint runs are stratified by, so that single tasks see the same splits."""
        targets = (c.target for c in self.base.tasks.values() if isinstance(c, ClassificationConfig))
        return next(targets, None)


class Ablation(Config):
    """What each ingredient of a recipe is worth: the accuracy that goes when it alone is taken away.

    Attributes:
        title: the question, as the report asks it.
        base: the recipe with everything; its first task is the classification whose test accuracy counts, and its
            seed that of the first repetition.
        without: the same recipe with one ingredient removed or replaced, by the name the report calls the ingredient.
            Data, steps and batch size are those of the base; the rows' own names do not matter.
        baseline: the recipe with all ingredients removed at once; None: that is not asked.
        seeds: number of paired repetitions; a seed draws the same subset and order for every row.
        launch: where the runs take place.
    """

    title: str
    base: Recipe
    without: dict[str, Recipe]
    baseline: Recipe | None = None
    seeds: int = 6
    launch: LaunchConfig = field(default_factory=LaunchConfig)

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, given {self.seeds}")
        if not self.without:
            raise ValueError("without names no ingredient: an ablation takes away at least one")
        name, task = next(iter(self.base.tasks.items()))
        if task.kind != "classification":
            raise ValueError(f"an ablation is about test accuracy, and the first task, {name}, is a {task.kind}")
        rows = {f"without {ingredient}": row for ingredient, row in self.without.items()}
        if self.baseline is not None:
            rows["baseline"] = self.baseline
        seen = {"base": self.base}
        for row_name, row in rows.items():
            self._check_fixed(row_name, row)
            plain = replace(row, name=self.base.name)
            for other, same in seen.items():
                if plain == same:
                    raise ValueError(f"{row_name} is the same recipe as {other}, so there is nothing to compare")
            seen[row_name] = plain

    def _check_fixed(self, row_name: str, row: Recipe) -> None:
        """Refuses a row that differs from the base in more than its ingredient: in data, budget or question."""
        ours, theirs = _budget(self.base), _budget(row)
        for path, value in ours.items():
            if theirs[path] != value:
                raise ValueError(
                    f"{row_name} changes {path} (base {value!r}, here {theirs[path]!r}), which an ablation holds fixed"
                )
        (ours_name, ours_task), (name, task) = (next(iter(one.tasks.items())) for one in (self.base, row))
        if (name, task.kind, task.target) != (ours_name, ours_task.kind, ours_task.target):
            raise ValueError(f"{row_name} has {name} as its first task; all rows are judged by the base's, {ours_name}")

    def run(self, row: Recipe, seed: int) -> Recipe:
        """The recipe of one run of the base or of a row; no validation share is set apart, as nothing is selected."""
        data, read = self.base.data, {config.target for config in row.tasks.values()}
        data = replace(
            data,
            validation=0.0,
            stratify=data.stratify or next(iter(self.base.tasks.values())).target,
            hide={column: share for column, share in data.hide.items() if column in read},
            names={column: given for column, given in data.names.items() if column in read},
        )
        return replace(row, name=self.base.name, data=data, seed=seed)


def _budget(recipe: Recipe) -> dict[str, object]:
    """What the rows of an ablation have in common, by the path of the field."""
    data = {f"data.{part.name}": getattr(recipe.data, part.name) for part in fields(recipe.data)}
    budget = ("steps", "batch_size", "log_every", "evaluate_every")
    train = {f"train.{name}": getattr(recipe.train, name) for name in budget}
    return {"seed": recipe.seed, "tta": recipe.tta, **data, **train}
