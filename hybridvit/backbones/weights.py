"""Weights into a model: our own, timm's or the authors', from a file or a state dict."""

from __future__ import annotations

import argparse
import math
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from hybridvit.backbones.features import Backbone
from hybridvit.backbones.weight_layouts import State, our_names
from hybridvit.layers.positions import LearnedPosition, SinCos1DPosition, resample, sincos1d
from hybridvit.layers.relative import RelativeBias, resample_table

# Under these names training scripts keep the weights among other things; the averaged ones come first.
CONTAINERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "module")
HEAD = re.compile(r"head\.fc(_dist)?\.")
NO_WEIGHT = ".num_batches_tracked"


@dataclass(frozen=True)
class LoadReport:
    """What :func:`load_weights` did, tensor by tensor, under our names.

    Attributes:
        loaded: number of tensors loaded.
        missing: tensors of the model that the checkpoint does not have.
        unexpected: tensors of the checkpoint that the model does not have.
        mismatched: name -> (shape in the model, shape in the checkpoint).
        resampled: name -> (grid of the model, grid of the checkpoint).
        left_out: tensors of the checkpoint that are not needed, and why.
    """

    loaded: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    resampled: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every tensor of the one had its place in the other."""
        return not (self.missing or self.unexpected or self.mismatched)

    def differences(self) -> str:
        """What did not go straight from the one to the other; empty if all did."""
        shapes = [f"{name} {list(ours)} given {list(theirs)}" for name, (ours, theirs) in self.mismatched.items()]
        groups = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": shapes,
            "resampled": list(self.resampled),
            "left out": list(self.left_out),
        }
        return "; ".join(_some(what, names) for what, names in groups.items() if names)

    def __str__(self) -> str:
        return "; ".join(filter(None, [f"{self.loaded} tensors loaded", self.differences()]))


def load_weights(
    model: nn.Module, checkpoint: str | Path | Mapping[str, Any], *, strict: bool = True, head: bool = True
) -> LoadReport:
    """Loads weights in timm's or the authors' layout (DeiT, ConViT, CaiT, T2T-ViT, CCT), torchvision's or our own.

    Learned positions and relative biases of another grid are resampled; nothing else changes.

    Args:
        model: a classifier, a backbone or a single layer.
        checkpoint: a state dict, or a file: safetensors, or what ``torch.save`` wrote.
        strict: refuse a checkpoint that does not fit exactly, and load nothing of it; else load what fits.
        head: whether the classification layer is loaded; False keeps the model's own, for fine-tuning.

    Returns:
        What was loaded, and exactly which tensors were missing, unexpected, of another shape or resampled.

    Raises:
        ValueError: a file that is missing, truncated or holds more than tensors, or a checkpoint that does not fit.
    """
    state, left_out = our_names(_flat(_read(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint))
    wanted = model.state_dict()
    own = any(name.startswith("backbone.") for name in wanted)
    backbone: nn.Module = model.backbone if own else model  # type: ignore[assignment]
    state = {name.removeprefix("backbone."): tensor for name, tensor in state.items()}
    resampled = _fit_positions(backbone, state, left_out)
    for name in list(state):
        if (not own and isinstance(model, Backbone) and name.startswith("head.")) or (not head and HEAD.match(name)):
            left_out[name] = "the model keeps its own head" if own else "a backbone has no head"
            del state[name]
    if own:
        state = {name if name.startswith("head.") else f"backbone.{name}": tensor for name, tensor in state.items()}
        resampled = {f"backbone.{name}": grids for name, grids in resampled.items()}

    kept = {name for name in wanted if not head and HEAD.match(name)}
    shapes = {name: (tuple(wanted[name].shape), tuple(state[name].shape)) for name in wanted if name in state}
    fits = {name for name, (ours, theirs) in shapes.items() if ours == theirs}
    report = LoadReport(
        loaded=len(fits),
        missing=tuple(name for name in wanted if name not in state.keys() | kept and not name.endswith(NO_WEIGHT)),
        unexpected=tuple(name for name in state if name not in wanted),
        mismatched={name: pair for name, pair in shapes.items() if name not in fits},
        resampled=resampled,
        left_out=left_out,
    )
    if not fits or (strict and not report.complete):
        raise ValueError(
            f"the checkpoint does not fit the model: {report.differences()}. {_advice(report)}. Nothing was changed"
        )
    model.load_state_dict({name: state[name] for name in fits}, strict=False)
    return report


def _read(path: str | Path) -> Mapping[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no checkpoint file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # authors keep their settings beside the weights
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported operand" not in str(error) and "invalid load key" not in str(error):
            raise ValueError(
                f"{path} holds more than tensors, and reading it could run code: refused. Save a state_dict() instead"
            ) from error
        raise ValueError(f"{path} is no checkpoint, or damaged") from error
    except Exception as error:  # other bytes than a checkpoint's may make a reader raise anything
        raise ValueError(f"{path} is truncated or damaged: {' '.join(str(error).split())[:100]}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} should hold a state dict, given {type(content).__name__}")
    return content


def _flat(content: Mapping[str, Any]) -> State:
    """The tensors of a checkpoint, out of its containers and without the prefixes of wrappers."""
    for name in CONTAINERS:
        if isinstance(content.get(name), Mapping):
            return _flat(content[name])
    state = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError(
            f"a checkpoint holds tensors by name, given {', '.join(map(str, list(content)[:5])) or 'nothing'}"
        )
    for prefix in ("module.", "_orig_mod."):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    heads = {name.split(".")[1] for name in state if name.startswith("heads.")}
    if len(heads) == 1:  # a run of ours with one task
        (task,) = heads
        state = {re.sub(rf"^heads\.{re.escape(task)}\.", "head.", name): value for name, value in state.items()}
    return state


def _fit_positions(
    backbone: nn.Module, state: State, left_out: dict[str, str]
) -> dict[str, tuple[tuple[int, int], tuple[int, int]]]:
    """Fits positions and relative biases to the grid of the model; which were resampled."""
    resampled = {}
    table = state.get("position.embedding")
    position = getattr(backbone, "position", None)
    if table is not None and isinstance(position, LearnedPosition) and table.shape[1] == position.dim:
        if len(table) != len(position.embedding):
            side = math.isqrt(len(table))
            if side * side != len(table):
                raise ValueError(
                    f"the checkpoint's {len(table)} positions are those of a grid that is not square, so its sides are "
                    "not known; build the model for the checkpoint's own image size first"
                )
            old = (side, side)
            state["position.embedding"] = resample(table, old, position.grid)
            resampled["position.embedding"] = (position.grid, old)
    elif table is not None and isinstance(position, SinCos1DPosition):
        computed = sincos1d(table.shape[1], len(table), position.first)
        if torch.allclose(table.float(), computed, atol=1e-4):
            left_out["pos_embed"] = "the fixed sine-cosine positions, which the model computes"
            del state["position.embedding"]
    for name, module in backbone.named_modules():
        key = f"{name}.table" if name else "table"
        if isinstance(module, RelativeBias) and key in state and state[key].shape != module.table.shape:
            old = (state[key].shape[-2] // 2 + 1, state[key].shape[-1] // 2 + 1)
            if len(state[key]) == len(module.table):
                state[key] = resample_table(state[key], module.grid)
                resampled[key] = (module.grid, old)
    return resampled


def _some(what: str, names: Sequence[str]) -> str:
    return f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def _advice(report: LoadReport) -> str:
    for name, (expected, given) in report.mismatched.items():
        if len(expected) == 4 and {expected[-1], given[-1]} in ({3, 7}, {3, 11}) and expected[0] == given[0]:
            stem = "small" if given[-1] == 3 else "imagenet"
            return f"{name} is that of the {stem} stem: build the model with stem={stem!r}"
    if report.mismatched and not report.missing and not report.unexpected and all(map(HEAD.match, report.mismatched)):
        return "It has other classes: head=False keeps the model's own head"
    if not report.loaded:
        return "It is that of another model"
    return f"{report.loaded} tensors fit: build the model it was made for, or load only these with strict=False"
