"""Feed-forward parts of a transformer block."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hybridvit.layers.initialisation import linear


class MLP(nn.Module):
    """Linear, GELU, linear, for every token alone (ViT, arXiv 2010.11929, §3.1).

    Args:
        dim: width of the tokens.
        hidden_dim: width in between, in the papers 4·dim.
        dropout: share of activations dropped after each of the two layers.
        prefix: whether there may be prefix tokens; they make no difference here.
    """

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0, prefix: bool = True) -> None:
        super().__init__()
        self.fc1 = linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.fc2 = linear(hidden_dim, dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
        """x ``[b, n, dim]`` -> ``[b, n, dim]``; the grid is not used."""
        hidden = self.fc1(x)
        if recomputes_gelu(hidden) and not (self.training and self.drop.p):
            out: Tensor = GELULinear.apply(hidden, self.fc2.weight, self.fc2.bias)
            return out
        return self.drop(self.fc2(self.drop(self.act(hidden))))


class ConvFeedForward(nn.Module):
    """Feed-forward with a depthwise convolution between neighbours: DAFF of DHVT (arXiv 2210.05958, §3.3).

    Patch tokens: linear, batch norm, GELU; plus GELU(batch norm(depthwise 3x3)) of that; linear, batch norm.
    Prefix tokens, which have no neighbours, are multiplied channel by channel with weights from a
    squeeze-and-excitation of the mean new patch token. LocalViT (2104.05707) is the forerunner.

    Args:
        dim: width of the tokens.
        hidden_dim: width in between, in the paper 4·dim.
        dropout: share of activations dropped before the second linear map and at the end (the authors: none).
        prefix: whether there may be prefix tokens; without, there are no ``squeeze`` and ``excite``.
    """

    def __init__(self, dim: int, hidden_dim: int, dropout: float = 0.0, prefix: bool = True) -> None:
        super().__init__()
        self.fc1 = linear(dim, hidden_dim)
        self.norm1 = nn.BatchNorm1d(hidden_dim)
        self.depthwise = nn.Conv2d(hidden_dim, hidden_dim, 3, padding=1, groups=hidden_dim)
        self.norm2 = nn.BatchNorm1d(hidden_dim)
        self.fc2 = linear(hidden_dim, dim)
        self.norm3 = nn.BatchNorm1d(dim)
        self.prefix = prefix
        if prefix:
            self.squeeze = linear(dim, max(dim // 4, 1))
            self.excite = linear(max(dim // 4, 1), dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """x ``[b, p + gh·gw, dim]``, prefix tokens first, on a grid (gh, gw) -> ``[b, p + gh·gw, dim]``.

        Raises:
            ValueError: fewer tokens than the grid has cells, or prefix tokens in a layer made without.
        """
        p = x.shape[1] - grid[0] * grid[1]
        if p < 0 or (p and not self.prefix):
            expected = f"{grid[0] * grid[1]} tokens" + (" or more" if self.prefix else ": prefix=False takes no more")
            raise ValueError(f"{x.shape[1]} tokens on a grid of {grid[0]} x {grid[1]}: expected {expected}")
        # One row a token throughout: linear maps, norms and GELU are fastest on plain matrices (1.3 x the NCHW form;
        # measured), and the rows are the memory of channels-last maps, so that the convolution needs no copy either.
        tokens = F.gelu(self.norm1(self.fc1(x[:, p:]).flatten(0, 1)))
        maps = tokens.view(-1, *grid, tokens.shape[-1]).permute(0, 3, 1, 2)
        around = self.depthwise(maps).permute(0, 2, 3, 1).flatten(0, 2)
        tokens = tokens + F.gelu(self.norm2(around))
        patches = self.norm3(self.fc2(self.drop(tokens))).view(x.shape[0], -1, x.shape[-1])
        if p:
            weights = self.excite(F.gelu(self.squeeze(patches.mean(dim=1, keepdim=True))))
            patches = torch.cat((x[:, :p] * weights, patches), dim=1)
        return self.drop(patches)


def recomputes_gelu(hidden: Tensor) -> bool:
    """Whether the backward pass should compute GELU again rather than keep its result.

    On accelerators that costs next to nothing, and the result is a fifth of what a block keeps. A CPU has memory
    but no time to spare (2 to 9 % of the MLP), and torch.compile decides for itself.
    """
    return hidden.device.type != "cpu" and hidden.requires_grad and not torch.compiler.is_compiling()


class GELULinear(torch.autograd.Function):
    """linear(gelu(x)) that keeps x alone: x ``[..., in]``, weight ``[out, in]``, bias ``[out]`` -> ``[..., out]``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(F.gelu(x), weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rows = gradient.reshape(-1, weight.shape[0])  # flatten has no rule for batches of gradients
        to_weight = rows.T @ F.gelu(x).to(gradient.dtype).reshape(-1, weight.shape[1])
        to_x = torch.ops.aten.gelu_backward(gradient @ weight.to(gradient.dtype), x)
        return to_x, to_weight.to(weight.dtype), rows.sum(dim=0).to(weight.dtype)

    @staticmethod
    def jvp(ctx: Any, x_change: Tensor, weight_change: Tensor | None, bias_change: Tensor | None) -> Tensor:
        x, weight = ctx.saved_tensors
        change = F.linear(torch.ops.aten.gelu_backward(x_change, x), weight)
        if weight_change is not None:
            change = change + F.linear(F.gelu(x), weight_change)
        return change if bias_change is None else change + bias_change
