"""Models by name: making them, listing them, what they cost and how two differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from fnmatch import fnmatch
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from hybridvit.backbones.features import SOCKETS, Backbone, image_size_pair
from hybridvit.backbones.model_kinds import ModelConfig, named_model
from hybridvit.backbones.variants import VARIANTS, usual_image_size
from hybridvit.config import Config, field_values, runs_in_words
from hybridvit.tasks.classification import Classifier


def list_models(pattern: str = "*") -> list[str]:
    """Names of the models that match a shell pattern such as ``convit*``, sorted; ``timm/NAME`` works too."""
    return sorted(name for name in VARIANTS if fnmatch(name, pattern))


def model_config(name: str, patch_size: int | None = None) -> ModelConfig:
    """The configuration of a named model, optionally with another patch size.

    Raises:
        ValueError: there is no such model (the nearest names are given), or it has no patches.
    """
    config: ModelConfig = named_model(name)
    if patch_size is None:
        return config
    tokenizer = getattr(config, "tokenizer", None)
    if tokenizer is None or not hasattr(tokenizer, "patch_size") or hasattr(tokenizer, "cnn"):
        raise ValueError(f"{name} has no patches, so patch_size {patch_size} has no effect")
    return replace(config, tokenizer=replace(tokenizer, patch_size=patch_size))


def create_model(
    model: str | ModelConfig,
    num_classes: int = 1000,
    image_size: int | tuple[int, int] = 224,
    patch_size: int | None = None,
    in_channels: int = 3,
) -> Classifier:
    """A classifier, randomly initialised: images ``[b, in_channels, h, w]`` -> logits ``[b, num_classes]``.

    Args:
        model: a name from :func:`list_models`, ``timm/NAME``, or a configuration.
        num_classes: number of classes.
        image_size: height and width in pixels, or one number for both.
        patch_size: side of the patches in pixels, instead of the named model's own.
        in_channels: channels of the images.

    Raises:
        ValueError: unknown name, or sizes that do not fit.
    """
    return Classifier(create_backbone(model, image_size, patch_size, in_channels), num_classes)


def create_backbone(
    model: str | ModelConfig,
    image_size: int | tuple[int, int] = 224,
    patch_size: int | None = None,
    in_channels: int = 3,
) -> Backbone:
    """A backbone, randomly initialised: images ``[b, in_channels, h, w]`` -> Features.

    Arguments and errors as for :func:`create_model`.
    """
    if isinstance(model, str):
        model = model_config(model, patch_size)
    elif patch_size is not None:
        raise ValueError("patch_size goes with a name; a configuration has its own")
    if in_channels < 1:
        raise ValueError(f"in_channels must be at least 1, given {in_channels}")
    if not isinstance(model, Config):
        raise ValueError(f"a model is a name or a configuration such as ViTConfig, given {type(model).__name__}")
    return model.build(image_size_pair(image_size), in_channels)


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
    about = VARIANTS[name].about if name in VARIANTS else "from timm"
    paper = re.search(r"arXiv \d{4}\.\d{4,5}", about)
    return {
        "name": name,
        "params": params,
        "multiply_adds": multiply_adds,
        "image_size": list(image_size_pair(size)),
        "sockets": config.sockets(),
        "paper": paper.group() if paper else None,
        "about": about,
    }


def cost(config: str | ModelConfig, image_size: int | tuple[int, int], num_classes: int = 1000) -> tuple[int, int]:
    """Parameters, and multiply-adds of the matrix products and convolutions of one image, without computing them."""
    with torch.device("meta"):
        model = create_model(config, num_classes, image_size)
    params = sum(parameter.numel() for parameter in model.parameters())
    return params, multiply_adds(model, (3, *image_size_pair(image_size)))


def multiply_adds(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """Multiply-adds of the matrix products and convolutions for one image ``[c, h, w]``, without computing them.

    Args:
        net: takes images ``[b, c, h, w]``; left as it is.
        shape: of the image.
    """
    copy = deepcopy(net).to("meta").eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        copy(torch.empty(1, *shape, device="meta"))
    return counter.get_total_flops() // 2


def difference(first: str, second: str) -> list[tuple[str, Any, Any]]:
    """(field, value of the first, value of the second) for every field in which two named models differ.

    A field that only one of them has is None in the other.
    """
    one, other = (field_values(model_config(name)) for name in (first, second))
    return [(name, one.get(name), other.get(name)) for name in one | other if one.get(name) != other.get(name)]


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
    choices = {name: model_config(name).sockets() for name in names}
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
            return runs_in_words(value)
        if isinstance(value, list):
            return "-".join(map(str, value)) or "none"
        return "-" if value is None else str(value)

    lines = [("field", first, second), *((name, text(a), text(b)) for name, a, b in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
