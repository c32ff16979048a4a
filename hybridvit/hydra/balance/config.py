"""How the losses of several tasks become one update of the trunk: the settings of every method."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Discriminator

from hybridvit.config import Config


class SumConfig(Config):
    """The plain sum of the losses, which well-tuned baselines rest on (Kurin et al., arXiv 2201.04122)."""

    kind: Literal["sum"] = "sum"


class FixedConfig(Config):
    """A sum with fixed weights.

    Attributes:
        weights: task name -> factor on its loss; every task is named.
    """

    kind: Literal["fixed"] = "fixed"
    weights: dict[str, float]

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"weights.{name} must be a finite number from 0 up, given {weight}")
        if not any(self.weights.values()):
            raise ValueError("weights must hold at least one that is above 0")


class UncertaintyConfig(Config):
    """Weights from learned task uncertainties (Kendall et al., arXiv 1705.07115, eq. 10).

    Attributes:
        lr: learning rate of the log-variances, by Adam.
    """

    kind: Literal["uncertainty"] = "uncertainty"
    lr: float = 0.01

    def __post_init__(self) -> None:
        _check_positive(lr=self.lr)


class DWAConfig(Config):
    """Dynamic weight average: more weight where the loss falls slowly (Liu et al., arXiv 1803.10704, eq. 7).

    Attributes:
        temperature: how even the weights are.
        window: updates whose mean loss stands for the paper's epoch; only those with a label of the task count.
    """

    kind: Literal["dwa"] = "dwa"
    temperature: float = 2.0
    window: int = 100

    def __post_init__(self) -> None:
        _check_positive(temperature=self.temperature)
        if self.window < 1:
            raise ValueError(f"window must be at least 1, given {self.window}")


class GradNormConfig(Config):
    """Weights that make the tasks train at one pace (Chen et al., arXiv 1711.02257, algorithm 1).

    Attributes:
        alpha: how strongly tasks that lag behind are favoured; 0: equal gradient norms.
        lr: learning rate of the weights, by Adam.
    """

    kind: Literal["gradnorm"] = "gradnorm"
    alpha: float = 1.5
    lr: float = 0.025

    def __post_init__(self) -> None:
        if not (self.alpha >= 0 and math.isfinite(self.alpha)):
            raise ValueError(f"alpha must be a finite number from 0 up, given {self.alpha}")
        _check_positive(lr=self.lr)


class FAMOConfig(Config):
    """All losses fall at one rate, from the losses alone (Liu et al., arXiv 2306.03792, algorithm 1).

    One more forward pass for every update.

    Attributes:
        lr: learning rate of the weights' logits, by Adam.
        decay: pull of the logits towards 0, the paper's γ.
    """

    kind: Literal["famo"] = "famo"
    lr: float = 0.025
    decay: float = 1e-3

    def __post_init__(self) -> None:
        _check_positive(lr=self.lr)
        if not (self.decay >= 0 and math.isfinite(self.decay)):
            raise ValueError(f"decay must be a finite number from 0 up, given {self.decay}")


class GradientConfig(Config):
    """What all methods share that compare the tasks' gradients.

    With ``at="parameters"`` and ``every=1`` a method is the published one, and an update takes a backward pass
    for each task: with four tasks on the CPU 3.0 to 3.2 times as long as a plain sum's. Otherwise it is about
    2.0 times with ``every=2``, 1.5 times with ``every=4``, and 1.0 to 1.1 times with ``at="features"``.

    Attributes:
        kind: name of the method.
        at: where the gradients are compared: at the trunk's parameters, or at the features that the heads read,
            which takes one backward pass through the trunk for all tasks. The latter is an upper bound of the
            former for MGDA (MGDA-UB: Sener and Koltun, arXiv 1810.04650, §3.3), and another method for the others.
        every: updates between two comparisons; those between keep the last weights and take one backward pass
            (as the authors of Nash-MTL do, arXiv 2202.01017). A change of the tasks that have labels compares anew.
    """

    kind: str
    at: Literal["parameters", "features"] = "parameters"
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, given {self.every}")
        if self.at == "features" and self.every > 1:
            raise ValueError(f"every {self.every} saves no backward pass with at='features': leave it at 1")


class PCGradConfig(GradientConfig):
    """Each task's gradient without what conflicts with the others' (Yu et al., arXiv 2001.06782, algorithm 1)."""

    kind: Literal["pcgrad"] = "pcgrad"


class MGDAConfig(GradientConfig):
    """The shortest convex combination of the gradients (Sener and Koltun, arXiv 1810.04650, algorithm 2)."""

    kind: Literal["mgda"] = "mgda"


class CAGradConfig(GradientConfig):
    """The best for the worst-off task, near the mean gradient (Liu et al., arXiv 2110.14048, algorithm 1).

    Attributes:
        c: how far from the mean gradient, as a share of its length; 0: the mean.
    """

    kind: Literal["cagrad"] = "cagrad"
    c: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.c >= 0 and math.isfinite(self.c)):
            raise ValueError(f"c must be a finite number from 0 up, given {self.c}")


class NashMTLConfig(GradientConfig):
    """The Nash bargaining solution of the tasks (Navon et al., arXiv 2202.01017, algorithm 1)."""

    kind: Literal["nash_mtl"] = "nash_mtl"


class UPGradConfig(GradientConfig):
    """The mean of the gradients, each moved until it harms no task (Quinton and Rey, arXiv 2406.16232)."""

    kind: Literal["upgrad"] = "upgrad"


class AlignedMTLConfig(GradientConfig):
    """The mean of gradients made orthogonal and equally long (Senushkin et al., arXiv 2305.19000, algorithm 1)."""

    kind: Literal["aligned_mtl"] = "aligned_mtl"


BalanceConfig = Annotated[
    SumConfig
    | FixedConfig
    | UncertaintyConfig
    | DWAConfig
    | GradNormConfig
    | FAMOConfig
    | PCGradConfig
    | MGDAConfig
    | CAGradConfig
    | NashMTLConfig
    | UPGradConfig
    | AlignedMTLConfig,
    Discriminator("kind"),
]


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be a finite number above 0, given {value}")
