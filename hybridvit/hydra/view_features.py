"""Features of several cameras: one batch taken apart, samples put in their rows, zeros for a missing camera."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from hybridvit.backbones.features import Features, FeatureSpec


def split_features(features: Features, counts: Mapping[str, int]) -> dict[str, Features]:
    """Features of the images of several cameras, one camera after the other -> the features of each."""
    sizes = list(counts.values())
    tokens, prefix = features.tokens.split(sizes), features.prefix.split(sizes)
    maps = {stride: x.split(sizes) for stride, x in features.maps.items()}
    return {
        view: Features(tokens[i], prefix[i], features.grid, {stride: parts[i] for stride, parts in maps.items()})
        for i, view in enumerate(counts)
    }


def spread_features(features: Features, rows: Tensor | None, batch: int) -> Features:
    """Features of some of a batch's samples, put in their rows with zeros between; rows None: of all samples."""
    if rows is None:
        return features

    def spread(x: Tensor) -> Tensor:
        return x.new_zeros(batch, *x.shape[1:]).index_copy(0, rows, x)

    maps = {stride: spread(x) for stride, x in features.maps.items()}
    return Features(spread(features.tokens), spread(features.prefix), features.grid, maps)


def zero_features(spec: FeatureSpec, size: tuple[int, int], batch: int, like: Tensor) -> Features:
    """Zeros in place of a camera's features for images of this size, of the dtype and on the device of ``like``."""
    rows, columns = spec.grid
    last = max(spec.map_channels, default=0)
    maps = {}
    for stride, channels in spec.map_channels.items():
        height, width = spec.grid if stride == last else (-(-size[0] // stride), -(-size[1] // stride))
        maps[stride] = like.new_zeros(batch, channels, height, width)
    tokens = like.new_zeros(batch, rows * columns, spec.embed_dim)
    return Features(tokens, like.new_zeros(batch, spec.prefix_tokens, spec.embed_dim), spec.grid, maps)
