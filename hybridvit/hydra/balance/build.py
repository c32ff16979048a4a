"""A balancing method's settings become the method."""

from __future__ import annotations

from collections.abc import Sequence

from hybridvit.config import nearest
from hybridvit.hydra.balance.base import Balance, FixedBalance, SumBalance
from hybridvit.hydra.balance.config import (
    BalanceConfig,
    DWAConfig,
    FAMOConfig,
    FixedConfig,
    GradNormConfig,
    SumConfig,
    UncertaintyConfig,
)
from hybridvit.hydra.balance.gradients import FeatureTap, GradientBalance
from hybridvit.hydra.balance.learned_weights import DWABalance, FAMOBalance, GradNormBalance, UncertaintyBalance
from hybridvit.hydra.hydranet import HydraNet


def create_balance(
    config: BalanceConfig, task_names: Sequence[str], num_processes: int = 1, net: HydraNet | None = None
) -> Balance:
    """The method that turns the losses of these tasks into gradients.

    Methods other than a plain or fixed sum need a single process: weights learned in several would drift apart, as
    every process sees losses and missing labels of its own, and gradients of single tasks bypass the averaging that
    distributed training hooks into the one backward pass.

    Args:
        config: the method.
        task_names: the tasks, as in the net's heads.
        num_processes: processes that train together.
        net: the net to be trained, for ``at="features"``: its backbone gets a forward hook.

    Raises:
        ValueError: weights that do not fit the tasks, several processes, a missing package, or no net where one is
            needed.
    """
    names = tuple(task_names)
    if isinstance(config, SumConfig):
        return SumBalance(names)
    if isinstance(config, FixedConfig):
        return FixedBalance(_ordered(config.weights, names))
    if num_processes > 1:
        raise ValueError(f"balance {config.kind} trains in 1 process, not in {num_processes}: choose sum or fixed")
    if isinstance(config, UncertaintyConfig):
        return UncertaintyBalance(names, config)
    if isinstance(config, DWAConfig):
        return DWABalance(names, config)
    if isinstance(config, GradNormConfig):
        return GradNormBalance(names, config)
    if isinstance(config, FAMOConfig):
        return FAMOBalance(names, config)
    tap = None
    if config.at == "features":
        if net is None:
            raise ValueError(f"balance {config.kind} at features needs the net: create_balance(..., net=net)")
        tap = FeatureTap()
        net.backbone.register_forward_hook(tap)
    return GradientBalance(names, config, tap)


def _ordered(weights: dict[str, float], names: Sequence[str]) -> dict[str, float]:
    for name in weights:
        if name not in names:
            raise ValueError(f"balance.weights names no task {name!r}: {nearest(name, names)}")
    for name in names:
        if name not in weights:
            raise ValueError(f"balance.weights lacks task {name!r}: every task needs a weight")
    return {name: weights[name] for name in names}
