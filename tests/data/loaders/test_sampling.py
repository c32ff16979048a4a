"""Which samples a step sees, from one data set or several."""

from collections import Counter

import numpy as np
import pytest

from hybridvit.data.loaders.sampling import BatchSampler, SamplingConfig

SIZES = (17, 5, 53)
SOURCES = np.random.default_rng(0).permutation(np.repeat(np.arange(3), SIZES))


def order(kind, temperature=2.0, batch_size=7, seed=3):
    return BatchSampler(SOURCES, batch_size, seed, SamplingConfig(kind=kind, temperature=temperature))


def stream(source, steps):
    return np.concatenate([source.indices(step) for step in range(steps)])


@pytest.mark.parametrize("kind", ["size", "temperature", "round_robin"])
def test_a_step_is_a_function_of_seed_and_step(kind):
    in_order = [order(kind).indices(step) for step in range(40)]
    again = order(kind)
    for step in (39, 0, 12, 12, 5):
        assert np.array_equal(again.indices(step), in_order[step])
    assert not np.array_equal(order(kind, seed=4).indices(0), in_order[0])
    assert all(len(batch) == 7 for batch in in_order)


def test_by_size_every_sample_is_drawn_once_in_an_epoch():
    n = sum(SIZES)
    assert sorted(stream(order("size"), n)[:n]) == list(range(n))
    assert sorted(stream(order("size"), n)[n : 2 * n]) == list(range(n))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 50.0])
def test_a_temperature_gives_each_data_set_its_share(temperature):
    drawn = SOURCES[stream(order("temperature", temperature), 3000)]
    shares = np.bincount(drawn) / len(drawn)
    expected = np.array(SIZES) ** (1 / temperature)
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=2e-3)


@pytest.mark.parametrize("kind", ["temperature", "round_robin"])
def test_samples_of_a_data_set_take_turns(kind):
    drawn = stream(order(kind), 600)
    for source, size in enumerate(SIZES):
        own = drawn[SOURCES[drawn] == source]
        for start in range(0, len(own) - size, size):
            assert len(set(own[start : start + size])) == size
        assert set(own) == set(np.flatnonzero(source == SOURCES))


def test_round_robin_gives_whole_batches_of_one_data_set_after_the_other():
    source = order("round_robin")
    for step in range(12):
        assert set(SOURCES[source.indices(step)]) == {step % 3}


def test_a_tiny_data_set_is_not_forgotten():
    sources = np.repeat([0, 1], [100_000, 1])
    drawn = stream(BatchSampler(sources, 50, 0, SamplingConfig(kind="temperature", temperature=1.0)), 100)
    assert Counter(sources[drawn].tolist())[1] == 5  # once in a thousand


def test_a_temperature_below_one_is_refused():
    with pytest.raises(ValueError, match=r"at least 1, given 0\.5"):
        SamplingConfig(kind="temperature", temperature=0.5)


@pytest.mark.parametrize("kind", ["size", "round_robin"])
def test_a_temperature_without_effect_is_refused(kind):
    with pytest.raises(ValueError, match=f"temperature has no effect on kind '{kind}', given 3"):
        SamplingConfig(kind=kind, temperature=3.0)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("size", [58, 25, 35, 32, 54, 29, 28]),
        ("temperature", [53, 24, 47, 66, 12, 39, 8]),
        ("round_robin", [40, 12, 35, 49, 7, 51, 65]),
    ],
)
def test_the_order_of_earlier_versions_is_kept(kind, expected):
    assert order(kind).indices(14).tolist() == expected


@pytest.mark.parametrize("kind", ["size", "temperature", "round_robin"])
def test_repeated_samples_are_those_of_a_smaller_batch(kind):
    config = SamplingConfig(kind=kind)
    repeated, smaller = BatchSampler(SOURCES, 21, 3, config, repeats=3), BatchSampler(SOURCES, 7, 3, config)
    for step in (11, 0, 4, 4):
        assert np.array_equal(repeated.indices(step), np.repeat(smaller.indices(step), 3))
    assert np.array_equal(BatchSampler(SOURCES, 7, 3, config, repeats=1).indices(5), smaller.indices(5))


def test_with_repeats_the_same_steps_pass_over_the_data_less_often():
    source = BatchSampler(np.zeros(12), 8, 0, SamplingConfig(), repeats=2)
    seen = stream(source, 9)
    assert Counter(seen.tolist()) == dict.fromkeys(range(12), 6)  # 36 distinct draws, three passes
    for epoch in np.split(seen, 3):
        assert Counter(epoch.tolist()) == dict.fromkeys(range(12), 2)


@pytest.mark.parametrize(("repeats", "nearest"), [(5, 4), (0, 1), (-1, 1), (11, 12), (100, 12)])
def test_repeats_that_do_not_divide_the_batch_are_refused(repeats, nearest):
    with pytest.raises(ValueError, match=f"divide the batch size 12, given {repeats}: the nearest is {nearest}"):
        BatchSampler(SOURCES, 12, 0, SamplingConfig(), repeats)
