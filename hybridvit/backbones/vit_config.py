"""The vision transformer as a choice of fields."""

from __future__ import annotations

from typing import Literal

from hybridvit.backbones.tokenizer_configs import PatchConfig, TokenizerConfig
from hybridvit.config import Config
from hybridvit.layers.psa import check_heads

AttentionKind = Literal["mhsa", "gpsa", "psa", "lsa", "talking_heads"]
POSITIONAL = ("gpsa", "psa")  # kinds that have positions of their own


class ViTConfig(Config):
    """A vision transformer; a paper is a choice of these fields.

    Attributes:
        embed_dim: width of the tokens.
        depth: number of blocks.
        num_heads: attention heads of every block.
        mlp_ratio: hidden width of the feed-forward part, as a multiple of embed_dim.
        tokenizer: socket 1, how an image becomes tokens.
        position: socket 2, how tokens know where they are: an embedding at the input, or a learned relative
            bias on the scores of every attention but GPSA and PSA, which have their own.
        position_dim: how many of the embed_dim channels hold the position, beside the tokens' own;
            0: the position is added to all of them.
        attention: socket 3, one kind for all blocks or one for each block.
        feedforward: socket 4, the part that follows attention in every block: for every token alone, or
            with a depthwise convolution over the grid.
        pooling: socket 5, how the tokens become one vector.
        class_token_layer: block before which the class token enters (pooling "cls").
        class_attention_depth: class-attention blocks after the others (pooling "class_attention").
        distilled: a distillation token with a head of its own beside the class token (DeiT, arXiv 2012.12877).
        qkv_bias: whether the query, key and value projections have a bias.
        qk_norm: layer norm of queries and keys in every head (arXiv 2302.05442), class attention apart.
        qk_scale: what q · k is multiplied by, class attention apart; None: 1 / √(width of a head).
        layer_scale: start value of LayerScale (CaiT, arXiv 2103.17239); None: without.
        mlp_residual: what the feed-forward branch is added to: its "input", or that input "normalised" (CCT).
        norm_eps: what the layer norms add to the variance.
        initialisation: "default", every layer as its paper starts it, GPSA and PSA as a convolution; "random", these
            too at random; "mimetic", the other attentions like those of trained models (arXiv 2305.09828).
        locality_strength: α of that convolutional start.
        drop_path: stochastic depth of the last block; grows linearly from 0 at the first.
        dropout: share of activations dropped after the embedding and in the feed-forward parts.
    """

    kind: Literal["vit"] = "vit"
    embed_dim: int = 192
    depth: int = 12
    num_heads: int = 3
    mlp_ratio: float = 4.0
    tokenizer: TokenizerConfig = PatchConfig()
    position: Literal["learned", "sincos1d", "sincos2d", "relative", "none"] = "learned"
    position_dim: int = 0
    attention: tuple[AttentionKind, ...] = ("mhsa",)
    feedforward: Literal["mlp", "conv"] = "mlp"
    pooling: Literal["cls", "mean", "seq", "class_attention"] = "cls"
    class_token_layer: int = 0
    class_attention_depth: int = 2
    distilled: bool = False
    qkv_bias: bool = True
    qk_norm: bool = False
    qk_scale: float | None = None
    layer_scale: float | None = None
    mlp_residual: Literal["input", "normalised"] = "input"
    norm_eps: float = 1e-6
    initialisation: Literal["default", "random", "mimetic"] = "default"
    locality_strength: float = 1.0
    drop_path: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("embed_dim", "depth", "num_heads", "class_attention_depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, given {getattr(self, name)}")
        if self.embed_dim % self.num_heads:
            raise ValueError(f"embed_dim {self.embed_dim} is not divisible by num_heads {self.num_heads}")
        for name in ("norm_eps", "qk_scale", "layer_scale"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be positive, given {value}")
        for name in ("drop_path", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), given {getattr(self, name)}")
        if self.drop_path and self.depth == 1:
            raise ValueError(
                f"drop_path {self.drop_path} has no effect with depth 1: it grows from 0 at the first block"
            )
        self._check_position()
        self._check_attention()
        self._check_pooling()

    def _check_position(self) -> None:
        if not 0 <= self.position_dim < self.embed_dim:
            raise ValueError(f"position_dim must lie in 0 .. {self.embed_dim - 1}, given {self.position_dim}")
        if self.position_dim and self.position in ("none", "relative"):
            raise ValueError(f"position_dim {self.position_dim} has no effect with position {self.position}")
        width = self.position_dim or self.embed_dim
        if self.position == "sincos2d" and width % 4:
            name = "a position_dim" if self.position_dim else "an embed_dim"
            raise ValueError(f"position sincos2d needs {name} divisible by 4, given {width}")
        if self.position == "relative" and set(self.attention) <= set(POSITIONAL):
            raise ValueError("position relative has no effect where every block has its own positions (gpsa, psa)")

    def _check_attention(self) -> None:
        if len(self.attention) not in (1, self.depth):
            raise ValueError(
                f"attention names one kind for all blocks or one for each of the {self.depth} blocks (depth), "
                f"given {len(self.attention)}"
            )
        on_grid = [index for index, kind in enumerate(self.layer_attention) if kind in POSITIONAL]
        if on_grid:
            check_heads(self.num_heads)
            if self.pooling == "cls" and on_grid[-1] >= self.class_token_layer:
                raise ValueError(
                    f"the class token must enter after the last block of {' or '.join(POSITIONAL)}: given "
                    f"class_token_layer {self.class_token_layer}, block {on_grid[-1]} is "
                    f"{self.layer_attention[on_grid[-1]]} (or choose pooling mean)"
                )
        without = f"without {' or '.join(POSITIONAL)}"
        if self.initialisation == "random" and not on_grid:
            raise ValueError(f"initialisation random has no effect {without}: every other layer starts so by default")
        if self.locality_strength != 1 and (not on_grid or self.initialisation == "random"):
            why = "with initialisation random" if on_grid else without
            raise ValueError(f"locality_strength {self.locality_strength} has no effect {why}")
        if self.initialisation == "mimetic" and len(on_grid) == self.depth:
            raise ValueError(f"initialisation mimetic has no effect where every block is {' or '.join(POSITIONAL)}")

    def _check_pooling(self) -> None:
        if self.pooling == "cls" and not 0 <= self.class_token_layer < self.depth:
            raise ValueError(f"class_token_layer must lie in 0 .. {self.depth - 1}, given {self.class_token_layer}")
        if self.pooling != "cls" and self.class_token_layer:
            raise ValueError(f"class_token_layer {self.class_token_layer} has no effect with pooling {self.pooling}")
        if self.pooling != "class_attention" and self.class_attention_depth != 2:
            raise ValueError(
                f"class_attention_depth {self.class_attention_depth} has no effect with pooling {self.pooling}"
            )
        if self.distilled and self.pooling != "cls":
            raise ValueError(f"a distillation token goes with pooling cls, given {self.pooling}")

    @property
    def layer_attention(self) -> tuple[AttentionKind, ...]:
        """The kind of attention of every block."""
        return self.attention * self.depth if len(self.attention) == 1 else self.attention

    @property
    def prefix_tokens(self) -> int:
        """Number of prefix tokens: class token, distillation token."""
        return (1 + self.distilled) if self.pooling in ("cls", "class_attention") else 0
