"""The device and the precision of a training."""

from __future__ import annotations

from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState


def make_accelerator(precision: Literal["auto", "fp32", "bf16"], cpu: bool = False) -> Accelerator:
    """The device and precision to train with: a GPU where there is one, unless ``cpu``."""
    AcceleratorState._reset_state(reset_partial_state=True)  # runs of one process may differ in precision and device
    torch.backends.cudnn.benchmark = True  # sizes stay, so a GPU's search for the fastest convolution pays
    if precision == "auto":
        precision = "bf16" if not cpu and torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp32"
    return Accelerator(mixed_precision="bf16" if precision == "bf16" else "no", cpu=cpu)
