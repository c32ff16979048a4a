"""Methods on the tasks' gradients, against slow independent versions in float64 on the whole matrix of gradients."""

import warnings

import numpy as np
import pytest
import torch
from scipy import optimize

from hybridvit.hydra.balance.kinds import (
    AlignedMTLConfig,
    CAGradConfig,
    MGDAConfig,
    NashMTLConfig,
    PCGradConfig,
    UPGradConfig,
)


def pcgrad(rows, orders):
    """Algorithm 1 of the paper; ``orders`` are the random orders of the other tasks."""
    total = torch.zeros(rows.shape[1], dtype=torch.float64)
    for i, order in enumerate(orders):
        g = rows[i].clone()
        for j in order:
            if j != i and g @ rows[j] < 0:
                g = g - (g @ rows[j]) / (rows[j] @ rows[j]) * rows[j]
        total += g
    return total


@pytest.mark.parametrize("seed", range(5))
def test_pcgrad_projects_in_an_order_drawn_from_torchs_generator(seed, linear):
    rows = linear.jacobian(seed)
    torch.manual_seed(seed)
    orders = [torch.randperm(4).tolist() for _ in range(4)]
    torch.manual_seed(seed)
    actual = linear.update(PCGradConfig(), rows)
    torch.testing.assert_close(actual, pcgrad(rows, orders))
    assert not torch.allclose(actual, rows.sum(dim=0))


def test_pcgrad_without_conflict_is_the_plain_sum(linear):
    rows = linear.jacobian(0, conflict=False)
    torch.testing.assert_close(linear.update(PCGradConfig(), rows), rows.sum(dim=0))


@pytest.mark.parametrize("seed", range(5))
def test_mgda_of_two_tasks_in_closed_form(seed, linear):
    one, two = rows = linear.jacobian(seed, tasks=2)
    share = float(((two - one) @ two) / ((one - two) @ (one - two)))
    share = min(max(share, 0.0), 1.0)
    torch.testing.assert_close(linear.update(MGDAConfig(), rows), share * one + (1 - share) * two)


def on_simplex(cost, count):
    """The weights that minimise a cost, by a general-purpose solver."""
    constraint = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start, bounds = np.full(count, 1 / count), [(0, 1)] * count
    options = {"ftol": 1e-14, "maxiter": 500}
    return optimize.minimize(cost, start, bounds=bounds, constraints=constraint, options=options).x


@pytest.mark.parametrize("seed", range(3))
def test_mgda_is_the_shortest_convex_combination(seed, linear):
    rows = linear.jacobian(seed)
    best = torch.from_numpy(on_simplex(lambda w: ((w @ rows.numpy()) ** 2).sum(), 4)) @ rows
    actual = linear.update(MGDAConfig(), rows)
    assert float(actual.norm()) == pytest.approx(float(best.norm()), rel=0.02)  # Frank-Wolfe stops early
    torch.testing.assert_close(actual, best, rtol=0, atol=0.1 * float(best.norm()))


@pytest.mark.parametrize("c", [0.4, 0.8])
@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_cagrad_solves_its_dual(c, scale, linear):
    rows = linear.jacobian(0)
    mean = rows.numpy().mean(axis=0)
    root = c * np.linalg.norm(mean)
    w = on_simplex(lambda w: (w @ rows.numpy()) @ mean + root * np.linalg.norm(w @ rows.numpy()), 4)
    combined = w @ rows.numpy()
    expected = torch.from_numpy(mean + root / np.linalg.norm(combined) * combined)
    actual = linear.update(CAGradConfig(c=c), rows * scale) / scale
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_upgrad_projects_every_gradient_on_the_dual_cone(seed, linear):
    rows = linear.jacobian(seed).numpy()
    total = np.zeros(11)
    for row in rows:  # min ‖g − row‖² so that no task is harmed: g = row + rowsᵀ·v for the least-squares v ≥ 0
        v, _ = optimize.nnls(rows.T, -row)
        total += row + rows.T @ v
    actual = linear.update(UPGradConfig(), torch.from_numpy(rows)).numpy()
    assert (rows @ actual > -1e-2 * np.abs(rows @ rows.T).max()).all()
    np.testing.assert_allclose(actual, total / 4, rtol=0, atol=0.02 * np.abs(total).max())  # torchjd regularises


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_nash_mtl_is_the_bargaining_solution(seed, scale, linear):
    rows = scale * linear.jacobian(seed)
    products = (rows @ rows.T).numpy()
    root = optimize.root(lambda x: products @ np.exp(x) - np.exp(-x), -np.log(np.diag(products)) / 2, tol=1e-12)
    alpha = np.exp(root.x)
    np.testing.assert_allclose(products @ alpha, 1 / alpha)
    length = min(1.0, (4 * np.linalg.norm(products)) ** 0.5)
    expected = torch.from_numpy(alpha) @ rows
    torch.testing.assert_close(linear.update(NashMTLConfig(), rows), length * expected / expected.norm())


@pytest.mark.parametrize("seed", range(3))
def test_nash_mtl_is_that_of_torchjd_where_its_solver_converges(seed, linear):
    from torchjd.aggregation import NashMTL

    rows = linear.jacobian(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = NashMTL(n_tasks=4)(rows)
    torch.testing.assert_close(linear.update(NashMTLConfig(), rows), expected, rtol=1e-4, atol=1e-5)


def test_nash_mtl_of_opposite_gradients_stands_still(linear):
    rows = linear.jacobian(0)[:2]
    rows[1] = -2 * rows[0]
    assert float(linear.update(NashMTLConfig(), rows).norm()) < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_aligned_mtl_evens_the_singular_values_out(seed, linear):
    rows = linear.jacobian(seed)
    u, s, v = torch.linalg.svd(rows, full_matrices=False)
    expected = (s.min() * u @ v).mean(dim=0)  # all singular values become the least one
    torch.testing.assert_close(linear.update(AlignedMTLConfig(), rows), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("config", [CAGradConfig(), UPGradConfig()], ids=lambda config: config.kind)
def test_a_missing_solver_is_named_with_its_extra(config, monkeypatch):
    monkeypatch.setattr("torchjd._mixins.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"balance {config.kind} needs .*: pip install 'hybridvit\[balancing\]'"):
        config.build(("a", "b"))
