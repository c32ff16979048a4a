"""Several cameras become one: learned queries, or the cells of a bird's-eye view (BEV), attend to all their tokens."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.layers.attention import no_autocast
from hybridvit.layers.block import NORM_EPS
from hybridvit.layers.feedforward import MLP
from hybridvit.layers.initialisation import linear

if TYPE_CHECKING:
    from hybridvit.hydra.views import ViewsConfig


Floats = NDArray[np.float64]


class Rig(Protocol):
    """The cameras of a vehicle, as ``data.rig.Rig``."""

    @property
    def cameras(self) -> Mapping[str, Any]: ...
    def check(self, shapes: Mapping[str, tuple[int, int, int]]) -> None: ...
    def bev_cells(self, grid: tuple[int, int], extent: tuple[float, float, float, float]) -> Floats: ...


class CrossAttention(nn.Module):
    """Attention of queries to the tokens of all cameras, with one softmax over camera and token.

    Args:
        dim: width of queries, keys and values; split evenly over the heads.
        num_heads: number of heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = linear(dim, dim)
        self.kv = linear(dim, 2 * dim)
        self.proj = linear(dim, dim)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """x ``[b, q, dim]``, tokens ``[b, n, dim]``, tokens that are present ``[b, n]`` bool -> ``[b, q, dim]``."""
        q = rearrange(self.q(x), "b q (h d) -> b h q d", h=self.num_heads)
        k, v = rearrange(self.kv(tokens), "b n (kv h d) -> kv b h n d", kv=2, h=self.num_heads)
        # Exact for every dtype: all of torch's kernels keep the softmax in fp32.
        with no_autocast(v.device.type):
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None, :])
        return self.proj(rearrange(out, "b h q d -> b q (h d)"))


class CrossBlock(nn.Module):
    """x + attention(norm(x), ...), then x + MLP(norm(x))."""

    def __init__(self, dim: int, attention: nn.Module, hidden_dim: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attention = attention
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.feedforward = MLP(dim, hidden_dim)

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        """queries ``[b, q, dim]`` and the attention's further arguments -> queries."""
        x = x + self.attention(self.norm1(x), *context)
        out: Tensor = x + self.feedforward(self.norm2(x))
        return out


class Fusion(nn.Module, ABC):
    """Base of the fusions: the cells of a grid are queries that attend to the tokens of all cameras.

    A subclass makes its own parameters, then calls :meth:`add_blocks`.

    Args:
        config: width, grid, heads and depth.
        specs: view name -> the shapes of its features.

    Attributes:
        spec: the shapes of the fused features.
        rows: view name -> the rows of its tokens in a table of all cameras' tokens.
    """

    def __init__(self, config: ViewsConfig, specs: Mapping[str, FeatureSpec]) -> None:
        super().__init__()
        in_dim = next(iter(specs.values())).embed_dim
        ends = list(accumulate(math.prod(spec.grid) for spec in specs.values()))
        self.spec = FeatureSpec(config.embed_dim, config.grid, 0, "mean", {1: config.embed_dim})
        self.rows = {view: slice(start, end) for view, start, end in zip(specs, [0, *ends], ends, strict=False)}
        self.feature = nn.Sequential(nn.LayerNorm(in_dim, eps=NORM_EPS), linear(in_dim, config.embed_dim))

    def add_blocks(self, config: ViewsConfig, attention: Callable[[int, int], nn.Module]) -> None:
        """Adds the queries' initial values and the blocks; ``attention`` is made of width and number of heads."""
        dim, (rows, columns) = config.embed_dim, config.grid
        hidden = round(dim * config.mlp_ratio)
        self.position = nn.Parameter(torch.randn(rows * columns, dim) * dim**-0.5)
        self.blocks = nn.ModuleList(
            CrossBlock(dim, attention(dim, config.num_heads), hidden) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    @abstractmethod
    def context(self, tokens: Mapping[str, Tensor]) -> tuple[Any, ...]:
        """What the attention takes between the queries and the mask."""

    def forward(self, tokens: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Features:
        """Tokens of some of the cameras -> Features of the grid, with a map at its own resolution.

        Args:
            tokens: view name -> ``[b, gh·gw, in_dim]``; finite also where the camera is missing.
            present: view name -> ``[b]`` bool, at least one camera in every sample; None: all are present.
        """
        context, mask = self.context(tokens), None
        if present is not None:  # of every token [b, n], as its camera's
            mask = torch.cat([present[view][:, None].expand(-1, x.shape[1]) for view, x in tokens.items()], dim=1)
        x = self.position.expand(len(next(iter(tokens.values()))), -1, -1)
        for block in self.blocks:
            x = block(x, *context, mask)
        x = self.norm(x)
        image = rearrange(x, "b (gh gw) d -> b d gh gw", gh=self.spec.grid[0])
        return Features(x, x[:, :0], self.spec.grid, {1: image})


class AttentionFusion(Fusion):
    """Queries attend to the tokens of all cameras, each with a learned embedding of its camera and cell.

    The cameras' poses are learned, not given: :class:`BEVFusion` is for rigs of known geometry.
    """

    def __init__(self, config: ViewsConfig, specs: Mapping[str, FeatureSpec]) -> None:
        super().__init__(config, specs)
        tokens, dim = sum(math.prod(spec.grid) for spec in specs.values()), config.embed_dim
        self.embedding = nn.Parameter(torch.randn(tokens, dim) * dim**-0.5)
        self.add_blocks(config, CrossAttention)

    def context(self, tokens: Mapping[str, Tensor]) -> tuple[Tensor]:
        embedding = torch.cat([self.embedding[self.rows[view]] for view in tokens])
        return (self.feature(torch.cat(list(tokens.values()), dim=1)) + embedding,)


class BEVAttention(nn.Module):
    """Cross-view attention (arXiv 2205.02833, §3.2): a query for every camera, one softmax over camera and token."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = linear(dim, dim)
        self.k = linear(dim, dim)
        self.v = linear(dim, dim)
        self.proj = linear(dim, dim)

    def forward(
        self, x: Tensor, towards: list[Tensor], features: list[Tensor], rays: list[Tensor], mask: Tensor | None
    ) -> Tensor:
        """cells x ``[b, q, dim]`` -> their update ``[b, q, dim]``.

        Args:
            towards: for each camera, the difference of its queries from x, ``[q, dim]``.
            features: for each camera, its tokens ``[b, n_c, dim]``: the values.
            rays: for each camera, the difference of its keys from its tokens, ``[n_c, dim]``.
            mask: which of all n tokens are present, ``[b, n]`` bool; None: all.
        """
        cells, scores = self.q(x), []
        for direction, tokens, ray in zip(towards, features, rays, strict=True):
            # The projections are linear: terms that are equal for all samples go through them once.
            q = self._split(cells + F.linear(direction, self.q.weight))
            k = self._split(self.k(tokens) + F.linear(ray, self.k.weight))
            with no_autocast(k.device.type):
                scores.append((q * q.shape[-1] ** -0.5).to(k.dtype) @ k.transpose(-2, -1))
        v = self._split(self.v(torch.cat(features, dim=1)))
        with no_autocast(v.device.type):
            # No fused kernel has queries that differ between keys, so the scores are explicit.
            logits = torch.cat(scores, dim=-1)
            if mask is not None:
                logits = logits.masked_fill(~mask[:, None, None, :], float("-inf"))
            precise = torch.promote_types(logits.dtype, torch.float32)
            out = logits.softmax(dim=-1, dtype=precise).to(v.dtype) @ v
        return self.proj(rearrange(out, "b h q d -> b q (h d)"))

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (h d) -> b h n d", h=self.num_heads)


class BEVFusion(Fusion):
    """Cells of a bird's-eye view attend to the tokens of all cameras by geometry (arXiv 2205.02833).

    With tokens φ, ray d of every token, camera position c and cell centre g, all in the vehicle's coordinates:
    key = φ + norm(W_d·d - W_c·c), query = x + norm(W_g·g - W_c·c) for every camera, value = φ. Positions are in units
    of the farthest cell's coordinate. The three maps are initialised equal: W_g·g - W_c·c is then the direction from a
    camera to a cell, in the same coordinates as the rays.

    The geometry of the rig is no weight: it is not in the state dict.
    """

    rays: Tensor
    positions: Tensor
    cells: Tensor

    def __init__(self, config: ViewsConfig, specs: Mapping[str, FeatureSpec], rig: Rig) -> None:
        super().__init__(config, specs)
        self.cameras = {view: index for index, view in enumerate(specs)}
        cells = rearrange(rig.bev_cells(config.grid, config.extent), "rows columns xy -> (rows columns) xy")
        rays = [rearrange(rig.cameras[v].rays(spec.grid), "gh gw xyz -> (gh gw) xyz") for v, spec in specs.items()]
        unit = np.abs(cells).max()
        positions = np.stack([rig.cameras[view].position for view in specs]) / unit
        for name, values in (("rays", np.concatenate(rays)), ("positions", positions), ("cells", cells / unit)):
            buffer = torch.tensor(values, dtype=torch.get_default_dtype(), device="cpu")
            self.register_buffer(name, buffer, persistent=False)

        dim = config.embed_dim
        self.ray_map = linear(3, dim, bias=False)
        self.camera_map = linear(3, dim, bias=False)
        self.cell_map = linear(2, dim)
        with torch.no_grad():
            self.camera_map.weight.copy_(self.ray_map.weight)
            self.cell_map.weight.copy_(self.ray_map.weight[:, :2])
        self.norm_ray = nn.RMSNorm(dim, eps=NORM_EPS)
        self.norm_cell = nn.RMSNorm(dim, eps=NORM_EPS)
        self.add_blocks(config, BEVAttention)

    def context(self, tokens: Mapping[str, Tensor]) -> tuple[Any, ...]:
        rays, towards = [], []
        with no_autocast(self.rays.device.type):  # half precision would blur directions
            for view in tokens:
                camera = self.camera_map(self.positions[self.cameras[view]])
                rays.append(self.norm_ray(self.ray_map(self.rays[self.rows[view]]) - camera))
                towards.append(self.norm_cell(self.cell_map(self.cells) - camera))
        return towards, [self.feature(x) for x in tokens.values()], rays
