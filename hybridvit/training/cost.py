"""What a training costs: seconds, and the energy of a GPU that tells it."""

from __future__ import annotations

import time

import torch

from hybridvit.training.history import History


def joules(device: torch.device) -> float | None:
    """Energy that a GPU has used since its driver was loaded, whatever ran on it; None where nothing tells it.

    NVIDIA's NVML counts it, on Volta and newer; read through the package ``nvidia-ml-py``.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)) / 1000
    except pynvml.NVMLError:
        return None


class CostMeter:
    """Adds what was used since it was made to a history.

    Args:
        history: of the run; may hold what was used before.
        device: where it trains.
    """

    def __init__(self, history: History, device: torch.device) -> None:
        self.history, self.device = history, device
        self.seconds, self.joules = history.seconds, history.joules
        self.first = joules(device)
        self.began = time.perf_counter()

    def read(self) -> None:
        """Brings the history up to now."""
        self.history.seconds = self.seconds + time.perf_counter() - self.began
        now = joules(self.device)
        if self.first is not None and now is not None:
            self.history.joules = (self.joules or 0.0) + now - self.first
