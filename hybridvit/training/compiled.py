"""The training step's forward and backward pass, compiled before training so that its time is told apart."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from torch._functorch import config as functorch_config

from hybridvit.data.batch import Batch

MOST_SIZES = 8  # torch keeps no more versions of one function


def compile_net(
    net: nn.Module, batch: Batch, accelerator: Accelerator, sizes: Sequence[int | tuple[int, int]] = ()
) -> float:
    """Compiles a net in place for training and runs it once forward and backward at every size.

    Names of parameters and the state dict stay as they are, and so do weights, gradients, buffers (running statistics
    among them) and the random state. Random numbers inside the net, as of dropout, are others than uncompiled.

    Args:
        net: what is trained, after ``accelerator.prepare``.
        batch: of the size and kind that training will see; thrown away.
        accelerator: device and precision.
        sizes: image sizes that training will see, in pixels, height and width or one number for both; none: the
            batch's own.

    Returns:
        Seconds it took.

    Raises:
        ValueError: no C++ compiler for the CPU, more sizes than torch keeps, or sizes for several cameras.
    """
    if accelerator.device.type == "cpu" and shutil.which(_cpp_compiler()) is None:
        raise ValueError(f"compiling for the CPU needs a C++ compiler, and {_cpp_compiler()!r} is none: set CXX to one")
    if len(set(sizes)) > MOST_SIZES:
        raise ValueError(f"torch keeps {MOST_SIZES} compiled image sizes, given {len(set(sizes))}")
    if sizes and not isinstance(batch.images, Tensor):
        raise ValueError("image sizes are for one camera: leave them out")
    began = time.perf_counter()
    shown = [F.interpolate(batch.images, size) for size in dict.fromkeys(sizes)] or [batch.images]
    if len(getattr(accelerator.unwrap_model(net), "heads", ())) > 1:
        # Each task's gradient is taken from the same graph, so no backward pass may reuse what the graph keeps.
        functorch_config.donated_buffer = False
    net.compile(dynamic=False)
    before = [buffer.clone() for buffer in net.buffers()]
    was_training = net.training
    net.train()
    with torch.random.fork_rng([accelerator.device] if accelerator.device.type == "cuda" else []):
        for images in shown:
            with accelerator.autocast():
                predictions = net(images, batch.present)
            loss = torch.stack([p.float().square().mean() for p in predictions.values()]).sum()
            torch.autograd.grad(loss, [p for p in net.parameters() if p.requires_grad], allow_unused=True)
    net.train(was_training)
    with torch.no_grad():
        for buffer, value in zip(net.buffers(), before, strict=True):
            buffer.copy_(value)
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize(accelerator.device)
    return time.perf_counter() - began


def eager(net: nn.Module) -> AbstractContextManager[None]:
    """Inside, a compiled net runs uncompiled: in evaluation its shapes and modes would each be compiled anew."""
    if net._compiled_call_impl is None:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


def _cpp_compiler() -> str:
    """The command that torch compiles with."""
    return os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
