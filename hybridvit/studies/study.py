"""What every kind of study is: a question, a recipe held fixed, arms that differ from it, and paired seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hybridvit.config import Config, NonNegativeInt, PositiveFloat, PositiveInt
from hybridvit.recipe import Recipe
from hybridvit.studies.cells import Cell
from hybridvit.studies.statistics import seeds_needed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from hybridvit.plots import Theme
    from hybridvit.studies.conduct import Outcome

Results = Mapping[str, dict[str, Any]]  # cell key -> result


class LaunchConfig(Config):
    """Where the runs of a study take place.

    Attributes:
        backend: joblib's backend: processes of this machine ("loky"), this process ("sequential"), or a
            cluster ("ray", "dask").
        workers: runs at a time; None: one for each CPU core, or all that the cluster has.
        threads: CPU threads of each run; a result depends on it only in the last bits.
        address: address of the cluster; None: the one that ray or dask finds, or a local one.
        minutes: time limit. No run begins that would not end in time if it took as long as the longest so far, and
            the same command resumes with what is left. None: no limit.
    """

    backend: Literal["loky", "sequential", "ray", "dask"] = "loky"
    workers: PositiveInt | None = None
    threads: PositiveInt = 1
    address: str | None = None
    minutes: PositiveFloat | None = None


class StudyConfig(Config):
    """Base of all studies.

    Attributes:
        title: the question, as the report asks it.
        base: what is held fixed.
        seeds: number of paired repetitions; a seed draws the same images in the same order for every arm. None: as
            many as a claim about all of the study's comparisons needs.
        keep: number of seeds whose runs keep their folder with the weights, to be diagnosed, under ``runs/``.
        launch: where the runs take place.
    """

    incomplete: ClassVar[str]  # what is said when there is no report yet

    title: str
    base: Recipe
    seeds: PositiveInt | None = None
    keep: NonNegativeInt = 0
    launch: LaunchConfig = field(default_factory=LaunchConfig)

    @property
    def comparisons(self) -> int:
        """Number of comparisons that the report tests."""
        raise TypeError(f"{type(self).__name__} does not say what it compares")

    @property
    def repetitions(self) -> int:
        """Number of seeds: the one given, or as many as a claim about all comparisons needs."""
        return self.seeds if self.seeds is not None else seeds_needed(self.comparisons)

    def trials(self, results: Results) -> list[Cell]:
        """Runs that must end before :meth:`cells` is known; none of them reads the test split.

        Args:
            results: of the trials so far, which may call for more of them.
        """
        return []

    def cells(self, results: Results) -> list[Cell]:
        """All reported runs, seed by seed, so that a study cut short is still paired.

        Args:
            results: of the trials.
        """
        raise TypeError(f"{type(self).__name__} does not say what it runs")

    def keeps(self, cell: Cell) -> bool:
        """Whether a cell keeps its run folder."""
        return not cell.trial and cell.seed < self.keep

    def previews(self) -> dict[str, Recipe]:
        """A run of every arm, by its name; each is built before anything runs, so that what does not fit shows."""
        raise TypeError(f"{type(self).__name__} does not say what it compares")

    def report(self, outcome: Outcome) -> Report | None:
        """The report on what has a result; None while nothing can be compared."""
        raise TypeError(f"{type(self).__name__} has no report")


@dataclass(frozen=True)
class Report:
    """A study's findings, before they are written.

    Attributes:
        template: of the page.
        figures: file name without its suffix -> a function that draws it for a theme.
        tables: file name -> rows.
        summary: what study.json holds beside what is common to all studies.
        facts: what the page needs beside the figures and the summary.
        lines: the main table for a terminal.
    """

    template: str
    figures: dict[str, Callable[[Theme], Figure]]
    tables: dict[str, list[dict[str, Any]]]
    summary: dict[str, Any]
    facts: dict[str, Any]
    lines: list[str]
