"""Seconds and joules of a training, with a made-up GPU."""

import sys
from types import SimpleNamespace

import pytest
import torch

from hybridvit.runs.run import Run
from hybridvit.training.history import CostMeter, History, joules

GPU = torch.device("cuda", 1)


class NVMLError(Exception):
    pass


def nvml(monkeypatch, read):
    """Stands for the package ``pynvml``: ``read()`` gives millijoules of the GPU asked for."""
    asked = []
    package = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=asked.append,
        nvmlDeviceGetTotalEnergyConsumption=lambda gpu: read(),
    )
    monkeypatch.setitem(sys.modules, "pynvml", package)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=f"abc-{device.index}"))
    return asked


def test_the_counter_of_the_gpu_that_trains_is_read(monkeypatch):
    asked = nvml(monkeypatch, lambda: 5500)
    assert joules(GPU) == 5.5
    assert asked == ["GPU-abc-1"]


def test_a_device_that_does_not_tell_has_no_energy(monkeypatch):
    def unsupported():
        raise NVMLError

    assert joules(torch.device("cpu")) is None
    nvml(monkeypatch, unsupported)
    assert joules(GPU) is None
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    assert joules(GPU) is None


def test_a_meter_adds_to_what_was_used_before(monkeypatch):
    counter = iter([1_000_000, 1_002_000, 1_007_500])
    nvml(monkeypatch, lambda: next(counter))
    clock = iter([100.0, 103.0, 110.0])
    monkeypatch.setattr("hybridvit.training.history.time.perf_counter", lambda: next(clock))
    history = History(seconds=60.0, joules=40.0)
    meter = CostMeter(history, GPU)
    meter.read()
    assert (history.seconds, history.joules) == (63.0, 42.0)
    meter.read()
    assert (history.seconds, history.joules) == (70.0, 47.5)


def test_a_result_names_the_energy_where_it_is_known(tiny_recipe, monkeypatch):
    assert "joules" not in Run(tiny_recipe(steps=2), cpu=True).fit()
    counter = iter(range(100, 10_000, 25))
    monkeypatch.setattr("hybridvit.training.history.joules", lambda device: float(next(counter)))
    result = Run(tiny_recipe(steps=4, log_every=2, evaluate_every=4), cpu=True).fit()
    assert result["joules"] == {"train": pytest.approx(75)}  # two lines of metrics and the end
