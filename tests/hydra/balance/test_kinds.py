"""The balancing methods' configurations: what they refuse, and what reading them costs."""

import subprocess
import sys

import pytest

from hybridvit.hydra.balance.kinds import (
    CAGradConfig,
    DWAConfig,
    FAMOConfig,
    FixedConfig,
    GradNormConfig,
    PCGradConfig,
    UncertaintyConfig,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FixedConfig(weights={"a": -1.0}), r"weights\.a must be at least 0, given -1\.0"),
        (lambda: FixedConfig(weights={"a": 0.0}), "at least one that is above 0"),
        (lambda: UncertaintyConfig(lr=0.0), "lr must be above 0, given 0"),
        (lambda: DWAConfig(temperature=-2.0), "temperature must be above 0, given -2"),
        (lambda: DWAConfig(window=0), "window must be at least 1, given 0"),
        (lambda: GradNormConfig(alpha=-1.0), "alpha must be at least 0, given -1"),
        (lambda: FAMOConfig(decay=float("nan")), "decay must be a finite number, given nan"),
        (lambda: CAGradConfig(c=-0.1), r"c must be at least 0, given -0\.1"),
        (lambda: PCGradConfig(every=0), "every must be at least 1, given 0"),
        (lambda: PCGradConfig(at="features", every=3), "every 3 saves no backward pass"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_configurations_import_no_solver():
    code = "import sys, hybridvit.hydra.balance.kinds; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    loaded = set(done.stdout.split())
    assert "hybridvit.hydra.balance.gradient_methods" in loaded
    assert not {"torchjd", "cvxpy", "quadprog", "scipy"} & loaded
