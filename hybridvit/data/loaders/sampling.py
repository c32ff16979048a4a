"""Which samples a training step sees: a function of the seed and the step alone."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from hybridvit.config import Config

PERIOD = 1000  # slots after which the pattern of sources repeats


class SamplingConfig(Config):
    """How often each of several data sets is drawn from; one data set is drawn evenly.

    Attributes:
        kind: "size", every sample as often as any other; "temperature", a data set of n samples with a share
            proportional to n^(1/temperature) of every batch (arXiv 1907.05019, §3.2); "round_robin", whole batches from
            one data set after the other.
        temperature: 1 is by size, and the larger the more even.
    """

    kind: Literal["size", "temperature", "round_robin"] = "size"
    temperature: Annotated[float, Interval(ge=1)] = 2.0

    def __post_init__(self) -> None:
        if self.kind != "temperature" and self.temperature != 2:
            given = f"temperature has no effect on kind '{self.kind}', given {self.temperature}"
            raise ValueError(f"{given}: set kind to 'temperature'")


def seed_of(*parts: int) -> int:
    """One 63-bit seed from several numbers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


class BatchSampler:
    """The indices of every training batch.

    Samples of a data set are drawn without repetition within its epoch, and a batch may span two epochs, so that
    all batches are full even when there are fewer samples than a batch holds.

    With ``repeats``, a batch holds each of its samples so many times, to be augmented apart (arXiv 1901.09335), and
    as many times fewer distinct ones: the same number of steps passes over the data less often.

    Args:
        sources: data set of each sample, ``[n]``, from 0.
        batch_size: samples in a batch.
        seed: of the permutations.
        config: how the data sets take turns.
        repeats: how often a batch holds each of its samples.

    Raises:
        ValueError: repeats does not divide the batch size.
    """

    def __init__(
        self, sources: NDArray[np.integer], batch_size: int, seed: int, config: SamplingConfig, repeats: int = 1
    ) -> None:
        if repeats < 1 or batch_size % repeats:
            near = min((r for r in range(1, batch_size + 1) if batch_size % r == 0), key=lambda r: abs(r - repeats))
            raise ValueError(f"repeats must divide the batch size {batch_size}, given {repeats}: the nearest is {near}")
        if config.kind == "size":
            sources = np.zeros(len(sources), np.int64)
        self.members = [np.flatnonzero(sources == source) for source in np.unique(sources)]
        self.repeats = repeats
        self.distinct = batch_size // repeats
        self.seed = seed
        self.round_robin = config.kind == "round_robin"
        shares = np.array([len(m) for m in self.members]) ** (1 / config.temperature)
        self.pattern = _pattern(shares / shares.sum(), seed)
        self.before = np.stack([(self.pattern == s).cumsum() for s in range(len(self.members))], axis=1)
        self._epochs: dict[int, tuple[int, NDArray[np.int64]]] = {}

    def indices(self, step: int) -> NDArray[np.int64]:
        """The samples of this step's batch, counted from 0; repetitions follow each other."""
        return np.repeat(self._distinct(step), self.repeats)

    def _distinct(self, step: int) -> NDArray[np.int64]:
        if self.round_robin:
            turn, source = divmod(step, len(self.members))
            return self._draw(source, turn * self.distinct, self.distinct)
        slots = step * self.distinct + np.arange(self.distinct)
        chosen = self.pattern[slots % PERIOD]
        drawn = np.empty(self.distinct, np.int64)
        for source in np.unique(chosen):
            drawn[chosen == source] = self._draw(source, self._drawn(source, slots[0]), int((chosen == source).sum()))
        return drawn

    def _drawn(self, source: int, slots: int) -> int:
        """How many samples of a source the first ``slots`` slots have."""
        rounds, rest = divmod(int(slots), PERIOD)
        return rounds * int(self.before[-1, source]) + (int(self.before[rest - 1, source]) if rest else 0)

    def _draw(self, source: int, position: int, count: int) -> NDArray[np.int64]:
        """The samples of a source from a position of its own stream on."""
        pieces, size = [], len(self.members[source])
        while count:
            epoch, start = divmod(position, size)
            piece = self._epoch(source, epoch)[start : start + count]
            pieces.append(piece)
            position, count = position + len(piece), count - len(piece)
        return self.members[source][np.concatenate(pieces)]

    def _epoch(self, source: int, epoch: int) -> NDArray[np.int64]:
        held = self._epochs.get(source, (-1, np.zeros(0, np.int64)))
        if held[0] != epoch:
            seeds = [self.seed, 0, epoch] if source == 0 else [self.seed, 0, epoch, source]
            held = (epoch, np.random.default_rng(seeds).permutation(len(self.members[source])))
            self._epochs[source] = held
        return held[1]


def _pattern(shares: NDArray[np.float64], seed: int) -> NDArray[np.int64]:
    """A shuffled sequence of sources, each as often as its share says, to the nearest slot and at least once."""
    counts = np.maximum(np.floor(shares * PERIOD).astype(np.int64), 1)
    for source in np.argsort(counts - shares * PERIOD)[: max(PERIOD - counts.sum(), 0)]:
        counts[source] += 1
    counts[counts.argmax()] -= counts.sum() - PERIOD  # where the least of them were rounded up to one
    return np.random.default_rng([seed, 2]).permutation(np.repeat(np.arange(len(shares)), counts))
