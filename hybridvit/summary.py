"""What a model says about itself: size, cost, sockets, paper, and how it differs from another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from hybridvit.backbones.features import image_size_pair
from hybridvit.backbones.resnet import ResNetConfig
from hybridvit.backbones.std_resnet import StdResNetConfig
from hybridvit.backbones.timm_backbone import TimmConfig
from hybridvit.backbones.tokenizer_configs import (
    ConvConfig,
    ConvPoolConfig,
    OverlapConfig,
    PatchConfig,
    ShiftedPatchConfig,
    StagesConfig,
    T2TConfig,
    TokenizerConfig,
)
from hybridvit.backbones.torchvision_cnn import TorchvisionConfig
from hybridvit.backbones.variants import VARIANTS, ModelConfig, usual_image_size
from hybridvit.backbones.vit_config import ViTConfig
from hybridvit.backbones.wide_resnet import WideResNetConfig
from hybridvit.config import to_dict
from hybridvit.models import create_model, model_config

SOCKETS = ("tokenizer", "position", "attention", "feedforward", "pooling")


def summary(name: str, image_size: int | tuple[int, int] | None = None) -> dict[str, Any]:
    """Parameters, multiply-adds of one image, the five sockets and the paper of a named model, with 1,000 classes.

    Args:
        name: a name from :func:`list_models`, or ``timm/NAME``.
        image_size: in pixels; None: what the model is meant for.

    Raises:
        ValueError: unknown name, or the size does not fit the model.
    """
    config = model_config(name)
    size = usual_image_size(name) if image_size is None else image_size
    params, multiply_adds = cost(config, size)
    about = (VARIANTS[name].__doc__ or "").splitlines()[0] if name in VARIANTS else "from timm"
    papers = re.findall(r"arXiv (\d{4}\.\d{4,5})", about)
    return {
        "name": name,
        "params": params,
        "multiply_adds": multiply_adds,
        "image_size": list(image_size_pair(size)),
        "sockets": sockets(config),
        "paper": f"arXiv {papers[0]}" if papers else None,
        "about": about,
    }


def cost(config: str | ModelConfig, image_size: int | tuple[int, int], num_classes: int = 1000) -> tuple[int, int]:
    """Parameters, and multiply-adds of the matrix products and convolutions of one image, without computing them."""
    with torch.device("meta"):
        model = create_model(config, num_classes, image_size).eval()
        images = torch.empty(1, 3, *image_size_pair(image_size))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(images)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2


def sockets(config: ModelConfig) -> dict[str, str]:
    """The choice in each of the five sockets, in a few words; a CNN has only stages and pooling."""
    if isinstance(config, TimmConfig):
        return {socket: config.name if socket == "tokenizer" else "timm's" for socket in SOCKETS}
    if not isinstance(config, ViTConfig):
        attention = "none"
        if isinstance(config, ResNetConfig) and (config.attention_stages or config.attention_after):
            places = [f"in stage {stage}" for stage in config.attention_stages]
            attention = ", ".join([*places, *(f"after stage {stage}" for stage in config.attention_after)])
        return dict(zip(SOCKETS, (_cnn(config), "none", attention, "none", "mean"), strict=True))
    position = f"{config.position} beside {config.position_dim}" if config.position_dim else config.position
    attention = ", ".join(_times(kind, len(list(run))) for kind, run in groupby(config.layer_attention))
    pooling = {
        "cls": "cls" + (f" at {config.class_token_layer}" if config.class_token_layer else ""),
        "class_attention": f"class_attention x{config.class_attention_depth}",
    }.get(config.pooling, config.pooling)
    return {
        "tokenizer": _tokenizer(config.tokenizer),
        "position": position,
        "attention": attention,
        "feedforward": f"{config.feedforward} x{config.mlp_ratio:g}",
        "pooling": pooling + (" + distilled" if config.distilled else ""),
    }


def difference(first: str, second: str) -> list[tuple[str, Any, Any]]:
    """(field, value of the first, value of the second) for every field in which two named models differ.

    A field that only one of them has is None in the other.
    """
    flat = [_flat(to_dict(model_config(name))) for name in (first, second)]
    names = list(dict.fromkeys([*flat[0], *flat[1]]))
    rows = [(name, flat[0].get(name), flat[1].get(name)) for name in names]
    return [row for row in rows if row[1] != row[2]]


def summaries(names: Sequence[str], image_size: int | tuple[int, int] | None = None) -> Iterator[dict[str, Any]]:
    """The summaries of named models; of one that the size does not fit, only its name and the ``error``.

    Raises:
        ValueError: the size does not fit the only model.
    """
    for name in names:
        try:
            yield summary(name, image_size)
        except ValueError as error:
            if len(names) == 1:
                raise
            yield {"name": name, "error": str(error)}


def table(names: Sequence[str], image_size: int | tuple[int, int] | None = None) -> Iterator[str]:
    """The summaries of named models as aligned lines, each as soon as its cost is counted."""
    choices = {name: sockets(model_config(name)) for name in names}
    columns = ("name", "params", "mult-adds", "px", *SOCKETS, "paper")
    widths = [max(map(len, ["name", *names])), 8, 9, 7]
    widths += [max(len(socket), *(len(choice[socket]) for choice in choices.values())) for socket in SOCKETS]
    form = "  ".join(f"{{:{'>' if 1 <= index <= 3 else '<'}{width}}}" for index, width in enumerate([*widths, 0]))
    header = form.format(*columns)
    for row in summaries(names, image_size):
        if "error" in row:
            line = f"{row['name']:<{widths[0]}}  {row['error']}"
        else:
            height, width = row["image_size"]
            size = str(height) if height == width else f"{height}x{width}"
            numbers = (f"{row['params'] / 1e6:.2f} M", f"{row['multiply_adds'] / 1e9:.2f} G", size)
            line = form.format(row["name"], *numbers, *row["sockets"].values(), row["paper"] or "").rstrip()
        yield from (header, line) if row["name"] == names[0] else (line,)


def format_difference(first: str, second: str, rows: list[tuple[str, Any, Any]]) -> str:
    """The result of :func:`difference` as aligned text."""
    if not rows:
        return f"{first} and {second} are the same model"

    def text(value: Any) -> str:
        if isinstance(value, list) and value and isinstance(value[0], str):
            return ", ".join(_times(item, len(list(run))) for item, run in groupby(value))
        if isinstance(value, list):
            return "-".join(map(str, value)) or "none"
        return "-" if value is None else str(value)

    lines = [("field", first, second), *((name, text(a), text(b)) for name, a, b in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def _times(what: str, count: int) -> str:
    return what if count == 1 else f"{what} x{count}"


def _flat(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _tokenizer(config: TokenizerConfig) -> str:
    match config:
        case PatchConfig() | ShiftedPatchConfig():
            return f"{config.kind} {config.patch_size}"
        case OverlapConfig():
            return f"overlap {config.kernel_size}/{config.stride}"
        case ConvConfig():
            return f"conv {'-'.join(map(str, config.channels))}"
        case ConvPoolConfig():
            return f"conv_pool {config.kernel_size}x{config.layers}"
        case T2TConfig():
            return f"t2t {config.inner}"
        case StagesConfig():
            return _cnn(config.cnn) + (f", patch {config.patch_size}" if config.patch_size > 1 else "")


def _cnn(config: Any) -> str:
    match config:
        case ResNetConfig():
            return f"resnet {'-'.join(map(str, config.depths))}"
        case StdResNetConfig():
            return f"std_resnet {'-'.join(map(str, config.depths)) or 'stem'}"
        case WideResNetConfig():
            return f"wide_resnet {config.depth}-{config.width_factor}"
        case TorchvisionConfig():
            return f"torchvision {config.name}"
        case _:
            return str(config.kind)
