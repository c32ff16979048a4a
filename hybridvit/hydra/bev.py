"""Several cameras become a map of the ground: cells that look along the rays of calibrated cameras."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridvit.backbones.features import Features, FeatureSpec
from hybridvit.hydra.fusion import CrossBlock, fused_features, seen_tokens, token_rows
from hybridvit.layers.attention import merge_heads, no_autocast
from hybridvit.layers.block import NORM_EPS
from hybridvit.layers.initialisation import linear


class BEVAttention(nn.Module):
    """Cross-view attention (arXiv 2205.02833, §3.2): a query for every camera, one softmax over camera and token.

    Args:
        dim: width of queries, keys and values; split evenly over the heads.
        num_heads: number of heads.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = linear(dim, dim)
        self.k = linear(dim, dim)
        self.v = linear(dim, dim)
        self.proj = linear(dim, dim)

    def forward(
        self, x: Tensor, towards: list[Tensor], features: list[Tensor], rays: list[Tensor], there: Tensor | None
    ) -> Tensor:
        """The cells' update.

        Args:
            x: cells ``[b, q, dim]``.
            towards: for each camera, how its queries differ from x, ``[q, dim]``.
            features: for each camera, its tokens ``[b, n_c, dim]``: the values.
            rays: for each camera, how its keys differ from its tokens, ``[n_c, dim]``.
            there: which of all n tokens are there, ``[b, n]`` bool; None: all.

        Returns:
            ``[b, q, dim]``.
        """
        cells, scores = self.q(x), []
        for direction, tokens, ray in zip(towards, features, rays, strict=True):
            # The projections are linear: what is the same for all samples goes through them once.
            q = self._split(cells + F.linear(direction, self.q.weight))
            k = self._split(self.k(tokens) + F.linear(ray, self.k.weight))
            with no_autocast(k.device.type):
                scores.append((q * q.shape[-1] ** -0.5).to(k.dtype) @ k.transpose(-2, -1))
        v = self._split(self.v(torch.cat(features, dim=1)))
        with no_autocast(v.device.type):
            # No fused kernel has queries that differ between keys, so the scores are explicit.
            logits = torch.cat(scores, dim=-1)
            if there is not None:
                logits = logits.masked_fill(~there[:, None, None, :], float("-inf"))
            precise = torch.promote_types(logits.dtype, torch.float32)
            out = logits.softmax(dim=-1, dtype=precise).to(v.dtype) @ v
        return self.proj(merge_heads(out))

    def _split(self, x: Tensor) -> Tensor:
        """``[b, n, h·d]`` -> ``[b, h, n, d]``."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class BEVFusion(nn.Module):
    """Cells on the ground attend to the tokens of all cameras by geometry (cross-view attention, arXiv 2205.02833).

    With tokens φ, ray d of every token, camera position c and cell centre g, all in the vehicle's coordinates:
    key = φ + norm(W_d·d - W_c·c), query = x + norm(W_g·g - W_c·c) for every camera, value = φ. Positions are in units
    of the farthest cell's coordinate. The three maps start equal: W_g·g - W_c·c is then the direction from a camera to
    a cell, in the same coordinates as the rays.

    The geometry is no weight: it is not in the state dict.

    Args:
        grids: view name -> rows and columns of its tokens.
        rays: view name -> unit directions of its tokens in the vehicle, ``[gh, gw, 3]``.
        positions: view name -> position of the camera in the vehicle, in metres, ``[3]``.
        cells: centres (x, y) of the ground's cells, in metres, ``[rows, columns, 2]``.
        in_dim: width of the cameras' tokens.
        dim: width of the cells and the result.
        num_heads: number of heads.
        depth: number of blocks.
        hidden_dim: width in between of the MLPs.
    """

    rays: Tensor
    positions: Tensor
    cells: Tensor

    def __init__(
        self,
        grids: Mapping[str, tuple[int, int]],
        rays: Mapping[str, Tensor],
        positions: Mapping[str, Tensor],
        cells: Tensor,
        in_dim: int,
        dim: int,
        num_heads: int,
        depth: int,
        hidden_dim: int,
    ) -> None:
        super().__init__()
        self.spec = FeatureSpec(dim, (cells.shape[0], cells.shape[1]), 0, "mean", {1: dim})
        self.rows = token_rows(grids)
        self.cameras = {view: index for index, view in enumerate(grids)}
        unit = cells.abs().max()
        geometry = {
            "rays": torch.cat([rays[view].flatten(0, 1) for view in grids]),
            "positions": torch.stack([positions[view] for view in grids]) / unit,
            "cells": cells.flatten(0, 1) / unit,
        }
        for name, values in geometry.items():
            self.register_buffer(name, values.to(torch.get_default_dtype()), persistent=False)

        self.feature = nn.Sequential(nn.LayerNorm(in_dim, eps=NORM_EPS), linear(in_dim, dim))
        self.ray_map = linear(3, dim, bias=False)
        self.camera_map = linear(3, dim, bias=False)
        self.cell_map = linear(2, dim)
        with torch.no_grad():
            self.camera_map.weight.copy_(self.ray_map.weight)
            self.cell_map.weight.copy_(self.ray_map.weight[:, :2])
        self.norm_ray = nn.RMSNorm(dim, eps=NORM_EPS)
        self.norm_cell = nn.RMSNorm(dim, eps=NORM_EPS)
        self.position = nn.Parameter(torch.randn(len(self.cells), dim) * dim**-0.5)  # what the cells are at first
        self.blocks = nn.ModuleList(CrossBlock(dim, BEVAttention(dim, num_heads), hidden_dim) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, tokens: Mapping[str, Tensor], there: Mapping[str, Tensor] | None = None) -> Features:
        """Tokens of some of the cameras -> Features of the ground's cells.

        Args:
            tokens: view name -> ``[b, gh·gw, in_dim]``; finite also where the camera is not there.
            there: view name -> ``[b]`` bool, at least one camera in every sample; None: all.
        """
        rays, towards = self._directions(tokens)
        features = [self.feature(x) for x in tokens.values()]
        seen = seen_tokens(tokens, there)
        x = self.position.expand(len(features[0]), -1, -1)
        for block in self.blocks:
            x = block(x, towards, features, rays, seen)
        return fused_features(self.norm(x), self.spec)

    def _directions(self, views: Iterable[str]) -> tuple[list[Tensor], list[Tensor]]:
        """For each camera, what geometry adds to its keys ``[n_c, dim]`` and to its queries ``[q, dim]``."""
        rays, towards = [], []
        with no_autocast(self.rays.device.type):  # half precision would blur directions
            for view in views:
                camera = self.camera_map(self.positions[self.cameras[view]])
                rays.append(self.norm_ray(self.ray_map(self.rays[self.rows[view]]) - camera))
                towards.append(self.norm_cell(self.cell_map(self.cells) - camera))
        return rays, towards
