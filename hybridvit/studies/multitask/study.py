"""All tasks on one trunk, against every task alone on a trunk of the same kind."""

from __future__ import annotations

from dataclasses import field, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import MinLen

from hybridvit.backbones.model_kinds import ModelConfig
from hybridvit.hydra.balance.kinds import BalanceConfig, SumConfig
from hybridvit.recipe import Recipe
from hybridvit.studies.cells import Cell
from hybridvit.studies.study import Results, StudyConfig

if TYPE_CHECKING:
    from hybridvit.studies.conduct import Outcome
    from hybridvit.studies.study import Report

ALONE = "alone"  # what the tasks by themselves are called, beside the names of the balances


class MultiTaskStudy(StudyConfig):
    """All tasks on one trunk, against every task alone on a trunk of the same kind.

    The tasks compared are those of the base.

    Attributes:
        trunks: the trunks compared, by the name the report calls them.
        balances: the balancing methods compared, by the name the report calls them.
    """

    incomplete: ClassVar[str] = "no run is complete"

    trunks: Annotated[dict[str, ModelConfig], MinLen(1)]
    balances: Annotated[dict[str, BalanceConfig], MinLen(1)] = field(default_factory=lambda: {"sum": SumConfig()})

    def __post_init__(self) -> None:
        if len(self.base.tasks) < 2:
            raise ValueError(f"a comparison with single tasks needs at least two, given {', '.join(self.base.tasks)}")
        if ALONE in self.balances:
            raise ValueError(f"a balance cannot be called {ALONE!r}, as the report calls the single tasks")

    @property
    def comparisons(self) -> int:
        return len(self.trunks) * len(self.balances)

    def joint(self, trunk: str, balance: str, seed: int) -> Recipe:
        """The run of all tasks together."""
        name = f"{self.base.name}/{trunk}/{balance}"
        return replace(self._common(trunk, seed), name=name, balance=self.balances[balance])

    def single(self, trunk: str, task: str, seed: int) -> Recipe:
        """The run of one task alone, on the same samples for the same number of steps."""
        common, config = self._common(trunk, seed), self.base.tasks[task]
        hide = {column: share for column, share in common.data.hide.items() if column == config.target}
        names = {column: names for column, names in common.data.names.items() if column == config.target}
        return replace(
            common,
            name=f"{self.base.name}/{trunk}/{task} alone",
            balance=SumConfig(),
            tasks={task: config},
            data=replace(common.data, hide=hide, names=names),
        )

    def _common(self, trunk: str, seed: int) -> Recipe:
        """Without a validation share of its own: the last step counts, and nothing is selected.

        Joint and single runs are stratified by one column, so that they see the same splits.
        """
        classes = (task.target for task in self.base.tasks.values() if task.kind == "classification")
        data = replace(self.base.data, validation=0.0, stratify=self.base.data.stratify or next(classes, None))
        train = replace(self.base.train, evaluate_every=self.base.train.steps)
        return replace(self.base, model=self.trunks[trunk], data=data, train=train, seed=seed)

    def previews(self) -> dict[str, Recipe]:
        balance = next(iter(self.balances))
        return {trunk: self.joint(trunk, balance, 0) for trunk in self.trunks}

    def cells(self, results: Results) -> list[Cell]:
        return [
            cell
            for seed in range(self.repetitions)
            for trunk in self.trunks
            for cell in (
                *(self.alone(trunk, task, seed) for task in self.base.tasks),
                *(self.together(trunk, balance, seed) for balance in self.balances),
            )
        ]

    def alone(self, trunk: str, task: str, seed: int) -> Cell:
        """The run of one task by itself; its arm is (trunk, None, task)."""
        label = f"{self.trunks[trunk].kind}-{task}-alone"
        return Cell((trunk, None, task), seed, self.single(trunk, task, seed), f"{trunk}, {task} alone", label)

    def together(self, trunk: str, balance: str, seed: int) -> Cell:
        """The run of all tasks on one trunk; its arm is (trunk, balance, None)."""
        label = f"{self.trunks[trunk].kind}-all-{self.balances[balance].kind}"
        text = f"{trunk}, all tasks, {balance}"
        return Cell((trunk, balance, None), seed, self.joint(trunk, balance, seed), text, label)

    def keeps(self, cell: Cell) -> bool:
        """The joint runs of the first seed keep their folder in any case, for predictions to be drawn from."""
        return super().keeps(cell) or (cell.seed == 0 and cell.arm[1] is not None)

    def report(self, outcome: Outcome) -> Report | None:
        from hybridvit.studies.multitask.report import report

        return report(self, outcome)
